#pragma once
// SHA-256, streaming and in one call, over OpenSSL. Owner: the caller; a Sha256 is used by one thread at a time. It can
// be copied, and goes on after it was asked: an upload pauses and continues.

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct evp_md_ctx_st;

namespace tutti::sys {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256& other);
  Sha256& operator=(const Sha256& other);
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  // "sha256:" and 64 lower-case hex digits of everything so far.
  std::string digest() const;

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// Of a text, and of a whole file (streamed).
std::string digest_of(std::string_view bytes);
Result<std::string> digest_of_file(const std::string& path);

}  // namespace tutti::sys
