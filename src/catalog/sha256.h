#pragma once
// A running SHA-256 that can be copied (an upload pauses and goes on). Over OpenSSL; not thread-safe.

#include <memory>
#include <string>
#include <string_view>

namespace tutti::catalog {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256& other);
  Sha256& operator=(const Sha256& other);
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  // "sha256:" and 64 hex digits of what was given so far; goes on afterwards.
  std::string digest() const;

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string digest_of(std::string_view bytes);

}  // namespace tutti::catalog
