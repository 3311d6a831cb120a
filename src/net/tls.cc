#include "net/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>

#include "net/authority.h"

namespace tutti::net {

namespace {

using BioPtr = OpensslPtr<BIO, BIO_free_all>;

// OpenSSL would otherwise ask the terminal for the password of an encrypted key.
int refuse_password(char*, int, int, void*) {
  return 0;
}

BioPtr bio_of(const std::string& pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

void free_certificates(STACK_OF(X509) * stack) {
  sk_X509_pop_free(stack, X509_free);
}

// Accepts only a chain that ends in the self-signed certificate whose digest was pinned. It runs in place of OpenSSL's
// own search for an anchor; X509_verify_cert then checks signatures, dates and purposes as always.
int verify_pinned(X509_STORE_CTX* verification, void* argument) {
  const auto& tls = *static_cast<const TlsContext*>(argument);
  STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(verification);
  OpensslPtr<STACK_OF(X509), free_certificates> anchors(sk_X509_new_null());
  for (int i = 0; sent != nullptr && i < sk_X509_num(sent); ++i) {
    X509* certificate = sk_X509_value(sent, i);
    if (X509_self_signed(certificate, 1) != 1) continue;
    if (!secrets_equal(sha256_hex_of_certificate(certificate), tls.authority_sha256)) continue;
    X509_up_ref(certificate);
    sk_X509_push(anchors.get(), certificate);
  }
  if (sk_X509_num(anchors.get()) == 0) {
    X509_STORE_CTX_set_error(verification, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
    return 0;
  }
  X509_STORE_CTX_set0_trusted_stack(verification, anchors.get());
  return X509_verify_cert(verification);
}

// Where a context of OpenSSL's points to ours; the application's slot is asio's.
int own_slot() {
  static const int slot = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return slot;
}

// The one fault that is looked over: the peer's own certificate ended, and not too long ago.
int verify_peer(int ok, X509_STORE_CTX* verification) {
  if (ok == 1) return 1;
  const bool own = X509_STORE_CTX_get_error_depth(verification) == 0;
  if (!own || X509_STORE_CTX_get_error(verification) != X509_V_ERR_CERT_HAS_EXPIRED) return 0;
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const auto* tls = static_cast<const TlsContext*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), own_slot()));
  if (has_expired(X509_STORE_CTX_get_current_cert(verification), tls->expired_grace)) return 0;
  X509_STORE_CTX_set_error(verification, X509_V_OK);
  return 1;
}

Status load_own(SSL_CTX* context, const std::string& chain, const std::string& private_key) {
  BioPtr bio = bio_of(chain);
  X509Ptr leaf(PEM_read_bio_X509_AUX(bio.get(), nullptr, refuse_password, nullptr));
  if (!leaf) return fail(ErrorCode::invalid, openssl_error("the certificate is not PEM"));
  if (SSL_CTX_use_certificate(context, leaf.get()) != 1)
    return fail(ErrorCode::invalid, openssl_error("the certificate cannot be used"));
  SSL_CTX_clear_chain_certs(context);
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, refuse_password, nullptr)) {
    if (SSL_CTX_add0_chain_cert(context, next) != 1) {
      X509_free(next);
      return fail(ErrorCode::invalid, openssl_error("the certificate chain cannot be used"));
    }
  }
  ERR_clear_error();  // the end of the text is an error to PEM_read_bio
  TUTTI_TRY(KeyPtr key, read_private_key(private_key));
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1)
    return fail(ErrorCode::invalid, openssl_error("the private key does not belong to the certificate"));
  return {};
}

Status trust(SSL_CTX* context, const std::string& authority, bool announce) {
  BioPtr bio = bio_of(authority);
  int count = 0;
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  while (X509Ptr certificate{PEM_read_bio_X509(bio.get(), nullptr, refuse_password, nullptr)}) {
    if (X509_STORE_add_cert(store, certificate.get()) != 1)
      return fail(ErrorCode::invalid, openssl_error("the authority's certificate cannot be used"));
    if (announce) SSL_CTX_add_client_CA(context, certificate.get());
    ++count;
  }
  ERR_clear_error();
  if (count == 0) return fail(ErrorCode::invalid, "the authority is not a PEM certificate");
  return {};
}

Result<std::shared_ptr<TlsContext>> make_context(const SSL_METHOD* method) {
  auto tls = std::make_shared<TlsContext>();
  tls->context.reset(SSL_CTX_new(method));
  SSL_CTX* context = tls->context.get();
  if (context == nullptr) return fail(ErrorCode::internal, openssl_error("TLS cannot be set up"));
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Idle connections give their 34 KB of buffers back; a write may be tried again from another address.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
  return tls;
}

}  // namespace

bool has_expired(X509* certificate, Duration grace) {
  time_t then = time(nullptr) - static_cast<time_t>(grace.ns / 1'000'000'000);
  return X509_cmp_time(X509_get0_notAfter(certificate), &then) < 0;
}

std::string openssl_error(std::string_view what) {
  unsigned long code = ERR_get_error();
  std::string out(what);
  if (code != 0) {
    const char* reason = ERR_reason_error_string(code);
    out += ": ";
    if (reason != nullptr) {
      out += reason;
    } else {
      std::array<char, 256> text{};
      ERR_error_string_n(code, text.data(), text.size());
      out += text.data();
    }
  }
  ERR_clear_error();
  return out;
}

Result<X509Ptr> read_certificate(const std::string& pem) {
  BioPtr bio = bio_of(pem);
  X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, refuse_password, nullptr));
  if (!certificate) return fail(ErrorCode::invalid, openssl_error("the certificate is not PEM"));
  return certificate;
}

Result<KeyPtr> read_private_key(const std::string& pem) {
  BioPtr bio = bio_of(pem);
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_password, nullptr));
  if (!key) return fail(ErrorCode::invalid, openssl_error("the private key is not an unencrypted PEM key"));
  return key;
}

std::string sha256_hex_of_key(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  int length = i2d_PUBKEY(key, &der);
  if (length <= 0) return {};
  std::string out = sha256_hex({reinterpret_cast<const char*>(der), static_cast<size_t>(length)});
  OPENSSL_free(der);
  return out;
}

std::string sha256_hex_of_certificate(X509* certificate) {
  unsigned char* der = nullptr;
  int length = i2d_X509(certificate, &der);
  if (length <= 0) return {};
  std::string out = sha256_hex({reinterpret_cast<const char*>(der), static_cast<size_t>(length)});
  OPENSSL_free(der);
  return out;
}

std::string common_name_of(X509* certificate) {
  X509_NAME* name = X509_get_subject_name(certificate);
  int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (at < 0) return {};
  unsigned char* text = nullptr;
  int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (length < 0) return {};
  std::string out(reinterpret_cast<const char*>(text), static_cast<size_t>(length));
  OPENSSL_free(text);
  return out;
}

Result<std::shared_ptr<TlsContext>> make_server_tls(const TlsFiles& files) {
  TUTTI_TRY(auto tls, make_context(TLS_server_method()));
  SSL_CTX* context = tls->context.get();
  TUTTI_CHECK(load_own(context, files.certificate_chain, files.private_key));
  // Resumption by tickets only: they cost the server no memory. A new context has new ticket keys, so a peer that was
  // let in under an older authority has to show its certificate again.
  static constexpr unsigned char kSessionContext[] = "tutti";
  SSL_CTX_set_session_id_context(context, kSessionContext, sizeof kSessionContext - 1);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  if (!files.client_authority.empty()) {
    TUTTI_CHECK(trust(context, files.client_authority, true));
    tls->expired_grace = files.expired_grace;
    SSL_CTX_set_ex_data(context, own_slot(), tls.get());  // every connection holds the two together
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_peer);
  }
  return tls;
}

Result<std::shared_ptr<TlsContext>> make_client_tls(const ClientTls& files) {
  TUTTI_TRY(auto tls, make_context(TLS_client_method()));
  SSL_CTX* context = tls->context.get();
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (!files.authority.empty()) {
    TUTTI_CHECK(trust(context, files.authority, false));
  } else if (!files.authority_sha256.empty()) {
    if (files.authority_sha256.size() != 64)
      return fail(ErrorCode::invalid, "the digest of the authority's certificate must be 64 hex digits");
    for (char c : files.authority_sha256) tls->authority_sha256 += static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c);
    SSL_CTX_set_cert_verify_callback(context, verify_pinned, tls.get());
  } else {
    tls->check_host = true;
    if (SSL_CTX_set_default_verify_paths(context) != 1)
      return fail(ErrorCode::io, openssl_error("the system's trusted certificates cannot be read"));
  }
  if (!files.certificate_chain.empty() || !files.private_key.empty())
    TUTTI_CHECK(load_own(context, files.certificate_chain, files.private_key));
  return tls;
}

Status prepare_client_ssl(const TlsContext& tls, SSL* ssl, const std::string& host) {
  in6_addr address{};
  bool literal = inet_pton(AF_INET, host.c_str(), &address) == 1 || inet_pton(AF_INET6, host.c_str(), &address) == 1;
  if (!literal) SSL_set_tlsext_host_name(ssl, host.c_str());
  if (!tls.check_host) return {};
  X509_VERIFY_PARAM* rules = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  int ok = literal ? X509_VERIFY_PARAM_set1_ip_asc(rules, host.c_str())
                   : X509_VERIFY_PARAM_set1_host(rules, host.c_str(), host.size());
  if (ok != 1) return fail(ErrorCode::invalid, "'" + host + "' is not a host name");
  return {};
}

std::string handshake_error(SSL* ssl, const TlsContext& tls, const std::string& reason) {
  long verdict = SSL_get_verify_result(ssl);
  if (verdict == X509_V_OK) return "TLS: " + reason;
  std::string why = X509_verify_cert_error_string(verdict);
  if (!tls.authority_sha256.empty())
    return "the server's certificate does not come from the authority with digest " +
           tls.authority_sha256.substr(0, 12) + "… (" + why + "): check the token and the address";
  if (!tls.check_host)
    return "the server's certificate is not valid under the pool's authority (" + why +
           "): check the address and the authority's certificate you use";
  return "the server's certificate is not trusted (" + why + "): give the pool's authority, or check the host name";
}

}  // namespace tutti::net
