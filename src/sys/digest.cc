#include "sys/digest.h"

#include <fcntl.h>
#include <openssl/evp.h>

#include <cerrno>
#include <vector>

#include "sys/fd.h"

namespace tutti::sys {

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  TUTTI_INVARIANT(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "OpenSSL has no SHA-256");
}
Sha256::~Sha256() = default;
Sha256::Sha256(const Sha256& other) : Sha256() {
  TUTTI_INVARIANT(EVP_MD_CTX_copy_ex(context_.get(), other.context_.get()) == 1, "SHA-256 copy failed");
}
Sha256& Sha256::operator=(const Sha256& other) {
  if (this != &other) *this = Sha256(other);
  return *this;
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
  TUTTI_INVARIANT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "SHA-256 update failed");
}

std::string Sha256::digest() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  const Sha256 copy(*this);
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  TUTTI_INVARIANT(EVP_DigestFinal_ex(copy.context_.get(), sum, &length) == 1, "SHA-256 finish failed");
  std::string text = "sha256:";
  for (unsigned i = 0; i < length; ++i) {
    text += kDigits[sum[i] >> 4];
    text += kDigits[sum[i] & 15];
  }
  return text;
}

std::string digest_of(std::string_view bytes) {
  Sha256 sum;
  sum.update(bytes);
  return sum.digest();
}

Result<std::string> digest_of_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open " + path, errno);
  Sha256 sum;
  std::vector<char> buffer(256u << 10);
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read " + path, errno);
    if (n == 0) return sum.digest();
    sum.update({buffer.data(), static_cast<size_t>(n)});
  }
}

}  // namespace tutti::sys
