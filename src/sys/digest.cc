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
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
  TUTTI_INVARIANT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "SHA-256 update failed");
}

std::string Sha256::finish_hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum;
  unsigned length = 0;
  TUTTI_INVARIANT(EVP_DigestFinal_ex(context_.get(), sum.data(), &length) == 1, "SHA-256 finish failed");
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(length * 2);
  for (unsigned i = 0; i < length; ++i) {
    hex += kDigits[sum[i] >> 4];
    hex += kDigits[sum[i] & 15];
  }
  return hex;
}

std::string sha256_digest(std::string_view bytes) {
  Sha256 sum;
  sum.update(bytes);
  return sum.finish_digest();
}

Result<std::string> sha256_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open " + path, errno);
  Sha256 sum;
  std::vector<char> buffer(256u << 10);
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read " + path, errno);
    if (n == 0) return sum.finish_digest();
    sum.update({buffer.data(), static_cast<size_t>(n)});
  }
}

}  // namespace tutti::sys
