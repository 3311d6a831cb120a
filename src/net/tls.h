#pragma once
// Private to net: TLS contexts, certificate checks and OpenSSL's errors as text. Contexts are immutable once made and
// shared by every connection that uses them; a new set of files makes a new context.

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "net/http.h"

namespace tutti::net {

template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
template <class T, auto Free>
using OpensslPtr = std::unique_ptr<T, OpensslFree<Free>>;
using X509Ptr = OpensslPtr<X509, X509_free>;
using KeyPtr = OpensslPtr<EVP_PKEY, EVP_PKEY_free>;

// "what: the first reason of OpenSSL's queue"; the queue is empty afterwards.
std::string openssl_error(std::string_view what);

Result<X509Ptr> read_certificate(const std::string& pem);  // the first one
Result<KeyPtr> read_private_key(const std::string& pem);   // never asks a terminal for a password
std::string sha256_hex_of_key(EVP_PKEY* key);              // of the DER of its SubjectPublicKeyInfo
std::string sha256_hex_of_certificate(X509* certificate);
std::string common_name_of(X509* certificate);
// Whether its end came before now less `grace`.
bool has_expired(X509* certificate, Duration grace = {});

// One side's context. The pinned digest lives as long as the callback that reads it.
struct TlsContext {
  OpensslPtr<SSL_CTX, SSL_CTX_free> context;
  std::string authority_sha256;
  bool check_host = false;
  Duration expired_grace;  // server: see TlsFiles
};
Result<std::shared_ptr<TlsContext>> make_server_tls(const TlsFiles& files);
Result<std::shared_ptr<TlsContext>> make_client_tls(const ClientTls& tls);
// Server name indication and, where the trust store decides, the name or address to compare.
Status prepare_client_ssl(const TlsContext& tls, SSL* ssl, const std::string& host);
// Why a handshake or the first read failed, for the person who has to act on it.
std::string handshake_error(SSL* ssl, const TlsContext& tls, const std::string& reason);

}  // namespace tutti::net
