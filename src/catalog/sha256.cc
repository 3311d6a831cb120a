#include "catalog/sha256.h"

#include <openssl/evp.h>

#include "base/result.h"

namespace tutti::catalog {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() { TUTTI_INVARIANT(evp != nullptr, "out of memory"); }
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  TUTTI_INVARIANT(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1, "OpenSSL has no SHA-256");
}

Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256::Sha256(const Sha256& other) : context_(std::make_unique<Context>()) {
  TUTTI_INVARIANT(EVP_MD_CTX_copy_ex(context_->evp, other.context_->evp) == 1, "digest copy failed");
}

Sha256& Sha256::operator=(const Sha256& other) {
  if (this != &other) *this = Sha256(other);
  return *this;
}

void Sha256::update(std::string_view bytes) {
  TUTTI_INVARIANT(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1, "digest update failed");
}

std::string Sha256::digest() const {
  static constexpr char kHex[] = "0123456789abcdef";
  Sha256 copy(*this);
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  TUTTI_INVARIANT(EVP_DigestFinal_ex(copy.context_->evp, raw, &length) == 1, "digest failed");
  std::string text = "sha256:";
  for (unsigned i = 0; i < length; ++i) {
    text += kHex[raw[i] >> 4];
    text += kHex[raw[i] & 15];
  }
  return text;
}

std::string digest_of(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.digest();
}

}  // namespace tutti::catalog
