#include "net/authority.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "net/tls.h"

namespace tutti::net {

namespace {

using BioPtr = OpensslPtr<BIO, BIO_free_all>;
using RequestPtr = OpensslPtr<X509_REQ, X509_REQ_free>;
using ExtensionPtr = OpensslPtr<X509_EXTENSION, X509_EXTENSION_free>;

constexpr size_t kCommonNameMax = 64;          // X.520's upper bound
constexpr Duration kClockSkew = seconds(300);  // a node's clock may be behind

template <class Write>
Result<std::string> to_pem(Write write) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || write(bio.get()) != 1) return fail(ErrorCode::internal, openssl_error("PEM cannot be written"));
  char* data = nullptr;
  long length = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(length));
}

Result<std::string> certificate_pem(X509* certificate) {
  return to_pem([certificate](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

Result<std::string> key_pem(EVP_PKEY* key) {
  return to_pem([key](BIO* bio) { return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
}

Result<KeyPtr> make_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return fail(ErrorCode::internal, openssl_error("a key cannot be made"));
  return key;
}

Status set_common_name(X509_NAME* name, const std::string& common_name) {
  if (common_name.empty() || common_name.size() > kCommonNameMax)
    return fail(ErrorCode::invalid, "a certificate's common name has 1 to 64 bytes, not '" + common_name + "'");
  if (X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) != 1)
    return fail(ErrorCode::invalid, openssl_error("'" + common_name + "' cannot be a certificate's common name"));
  return {};
}

struct Extension {
  int nid;
  std::string value;
};

Status add_extensions(X509* certificate, X509* issuer, const std::vector<Extension>& extensions) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  for (const Extension& e : extensions) {
    ExtensionPtr made(X509V3_EXT_conf_nid(nullptr, &context, e.nid, e.value.c_str()));
    if (!made || X509_add_ext(certificate, made.get(), -1) != 1)
      return fail(ErrorCode::invalid, openssl_error("certificate extension '" + e.value + "'"));
  }
  return {};
}

Status set_random_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    return fail(ErrorCode::internal, openssl_error("no random numbers"));
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, and always 16 bytes long
  OpensslPtr<BIGNUM, BN_free> number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  if (!number || BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr)
    return fail(ErrorCode::internal, openssl_error("certificate serial"));
  return {};
}

Result<Time> expiry_of(X509* certificate) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1)
    return fail(ErrorCode::invalid, openssl_error("the certificate's end date cannot be read"));
  return Time{static_cast<int64_t>(timegm(&parts)) * 1'000'000'000};
}

struct Wanted {
  std::string common_name;
  Time now;
  Duration valid;
  std::vector<Extension> extensions;
};

// issuer and its key are those of the certificate itself when it signs itself.
Result<X509Ptr> make_certificate(const Wanted& wanted, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  X509Ptr certificate(X509_new());
  X509* x = certificate.get();
  if (x == nullptr || X509_set_version(x, X509_VERSION_3) != 1 || X509_set_pubkey(x, key) != 1)
    return fail(ErrorCode::internal, openssl_error("a certificate cannot be made"));
  TUTTI_CHECK(set_random_serial(x));
  if (wanted.valid <= Duration{}) return fail(ErrorCode::invalid, "a certificate must be valid for a while");
  Time until = wanted.now + wanted.valid;
  if (issuer != nullptr) {
    TUTTI_TRY(Time end, expiry_of(issuer));
    if (end <= wanted.now) return fail(ErrorCode::invalid, "the authority's own certificate has expired");
    until = std::min(until, end);
  }
  constexpr int64_t kSecond = 1'000'000'000;
  ASN1_TIME_set(X509_getm_notBefore(x), (wanted.now - kClockSkew).ns / kSecond);
  ASN1_TIME_set(X509_getm_notAfter(x), until.ns / kSecond);
  TUTTI_CHECK(set_common_name(X509_get_subject_name(x), wanted.common_name));
  X509_set_issuer_name(x, issuer != nullptr ? X509_get_subject_name(issuer) : X509_get_subject_name(x));
  TUTTI_CHECK(add_extensions(x, issuer != nullptr ? issuer : x, wanted.extensions));
  if (X509_sign(x, issuer_key, EVP_sha256()) <= 0)
    return fail(ErrorCode::internal, openssl_error("the certificate cannot be signed"));
  return certificate;
}

struct Authority {
  X509Ptr certificate;
  KeyPtr key;
};

Result<Authority> read_authority(const KeyPair& pair) {
  TUTTI_TRY(X509Ptr certificate, read_certificate(pair.certificate));
  TUTTI_TRY(KeyPtr key, read_private_key(pair.private_key));
  if (X509_check_private_key(certificate.get(), key.get()) != 1)
    return fail(ErrorCode::invalid, openssl_error("the authority's key does not belong to its certificate"));
  if (X509_check_ca(certificate.get()) == 0)
    return fail(ErrorCode::invalid, "the authority's certificate may not sign others");
  return Authority{std::move(certificate), std::move(key)};
}

Result<std::string> subject_alternative(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    // OpenSSL reads this as a list: what is not a plain name could smuggle in further entries.
    bool plain = !name.empty() && name.size() <= 253 &&
                 name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_*") ==
                     std::string::npos;
    if (!plain) return fail(ErrorCode::invalid, "'" + name + "' is not a host name or an address");
    in6_addr address{};
    bool literal = inet_pton(AF_INET, name.c_str(), &address) == 1 || inet_pton(AF_INET6, name.c_str(), &address) == 1;
    if (!literal && name.find(':') != std::string::npos)
      return fail(ErrorCode::invalid, "'" + name + "' is not a host name or an address");
    out += (out.empty() ? "" : ",") + std::string(literal ? "IP:" : "DNS:") + name;
  }
  if (out.empty()) return fail(ErrorCode::invalid, "a server certificate needs at least one host name or address");
  return out;
}

Result<RequestPtr> read_request(const std::string& pem) {
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  RequestPtr request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  if (!request) return fail(ErrorCode::invalid, openssl_error("the signing request is not PEM"));
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  if (key == nullptr) return fail(ErrorCode::invalid, openssl_error("the signing request has no usable key"));
  return request;
}

}  // namespace

Result<KeyPair> make_authority(const std::string& common_name, Time now, Duration valid) {
  TUTTI_TRY(KeyPtr key, make_key());
  Wanted wanted{common_name,
                now,
                valid,
                {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                 {NID_key_usage, "critical,keyCertSign,cRLSign"},
                 {NID_subject_key_identifier, "hash"}}};
  TUTTI_TRY(X509Ptr certificate, make_certificate(wanted, key.get(), nullptr, key.get()));
  KeyPair out;
  TUTTI_TRY(out.certificate, certificate_pem(certificate.get()));
  TUTTI_TRY(out.private_key, key_pem(key.get()));
  return out;
}

Result<KeyPair> issue_server(const KeyPair& pair, const std::string& common_name, const std::vector<std::string>& names,
                             Time now, Duration valid) {
  TUTTI_TRY(Authority authority, read_authority(pair));
  TUTTI_TRY(KeyPtr key, make_key());
  TUTTI_TRY(std::string alternative, subject_alternative(names));
  Wanted wanted{common_name,
                now,
                valid,
                {{NID_basic_constraints, "critical,CA:FALSE"},
                 {NID_key_usage, "critical,digitalSignature"},
                 {NID_ext_key_usage, "serverAuth"},
                 {NID_subject_key_identifier, "hash"},
                 {NID_authority_key_identifier, "keyid"},
                 {NID_subject_alt_name, alternative}}};
  TUTTI_TRY(X509Ptr certificate, make_certificate(wanted, key.get(), authority.certificate.get(), authority.key.get()));
  KeyPair out;
  TUTTI_TRY(out.certificate, certificate_pem(certificate.get()));
  TUTTI_TRY(std::string root, certificate_pem(authority.certificate.get()));
  out.certificate += root;
  TUTTI_TRY(out.private_key, key_pem(key.get()));
  return out;
}

Result<SigningRequest> make_signing_request(const std::string& common_name) {
  TUTTI_TRY(KeyPtr key, make_key());
  SigningRequest out;
  TUTTI_TRY(out.private_key, key_pem(key.get()));
  TUTTI_TRY(out.request, signing_request_for(out.private_key, common_name));
  return out;
}

Result<std::string> signing_request_for(const std::string& private_key, const std::string& common_name) {
  TUTTI_TRY(KeyPtr key, read_private_key(private_key));
  RequestPtr request(X509_REQ_new());
  X509_REQ* r = request.get();
  if (r == nullptr || X509_REQ_set_version(r, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(r, key.get()) != 1)
    return fail(ErrorCode::internal, openssl_error("a signing request cannot be made"));
  TUTTI_CHECK(set_common_name(X509_REQ_get_subject_name(r), common_name));
  if (X509_REQ_sign(r, key.get(), EVP_sha256()) <= 0)
    return fail(ErrorCode::internal, openssl_error("the signing request cannot be signed"));
  return to_pem([r](BIO* bio) { return PEM_write_bio_X509_REQ(bio, r); });
}

Result<std::string> sign_client(const KeyPair& pair, const std::string& request, const std::string& common_name,
                                Time now, Duration valid) {
  TUTTI_TRY(Authority authority, read_authority(pair));
  TUTTI_TRY(RequestPtr wish, read_request(request));
  EVP_PKEY* key = X509_REQ_get0_pubkey(wish.get());
  if (EVP_PKEY_get_security_bits(key) < 112)
    return fail(ErrorCode::invalid, "the key of the signing request is too weak: use ECDSA P-256");
  if (X509_REQ_verify(wish.get(), key) != 1)
    return fail(ErrorCode::invalid, openssl_error("the signing request is not signed by its own key"));
  Wanted wanted{common_name,
                now,
                valid,
                {{NID_basic_constraints, "critical,CA:FALSE"},
                 {NID_key_usage, "critical,digitalSignature"},
                 {NID_ext_key_usage, "clientAuth"},
                 {NID_subject_key_identifier, "hash"},
                 {NID_authority_key_identifier, "keyid"}}};
  TUTTI_TRY(X509Ptr certificate, make_certificate(wanted, key, authority.certificate.get(), authority.key.get()));
  return certificate_pem(certificate.get());
}

Result<std::string> key_fingerprint_of_request(const std::string& request) {
  TUTTI_TRY(RequestPtr wish, read_request(request));
  return sha256_hex_of_key(X509_REQ_get0_pubkey(wish.get()));
}

Result<std::string> key_fingerprint_of_certificate(const std::string& certificate) {
  TUTTI_TRY(X509Ptr x, read_certificate(certificate));
  EVP_PKEY* key = X509_get0_pubkey(x.get());
  if (key == nullptr) return fail(ErrorCode::invalid, openssl_error("the certificate has no usable key"));
  return sha256_hex_of_key(key);
}

Result<std::string> certificate_sha256(const std::string& certificate) {
  TUTTI_TRY(X509Ptr x, read_certificate(certificate));
  return sha256_hex_of_certificate(x.get());
}

Result<Time> certificate_expiry(const std::string& certificate) {
  TUTTI_TRY(X509Ptr x, read_certificate(certificate));
  return expiry_of(x.get());
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  TUTTI_INVARIANT(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1,
                  "SHA-256 is always there");
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < length; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return out;
}

bool secrets_equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace tutti::net
