#pragma once
// SHA-256, streaming and in one call, over OpenSSL. Owner: the caller; a Sha256 is used by one thread at a time.

#include <array>
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
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  // 64 lower-case hex digits of everything so far. Ends the object: only destruction may follow.
  std::string finish_hex();
  // The same as "sha256:<hex>".
  std::string finish_digest() { return "sha256:" + finish_hex(); }

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// "sha256:<hex>" of a text, and of a whole file (streamed).
std::string sha256_digest(std::string_view bytes);
Result<std::string> sha256_file(const std::string& path);

}  // namespace tutti::sys
