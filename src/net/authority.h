#pragma once
// A small certificate authority (X.509, ECDSA P-256) and the key work around it, over OpenSSL. Blocking, pure of state.

#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tutti::net {

struct KeyPair {
  std::string certificate;  // PEM
  std::string private_key;  // PEM
};

// A new self-signed authority.
Result<KeyPair> make_authority(const std::string& common_name, Time now, Duration valid);
// A server certificate for these host names and addresses (subjectAltName). Its `certificate` holds the authority's
// too, behind the leaf: clients that pin the authority's digest need to be sent it. Never valid longer than the
// authority.
Result<KeyPair> issue_server(const KeyPair& authority, const std::string& common_name,
                             const std::vector<std::string>& names, Time now, Duration valid);
// A key and a signing request, on the side that will own the key.
struct SigningRequest {
  std::string request;      // PEM
  std::string private_key;  // PEM
};
Result<SigningRequest> make_signing_request(const std::string& common_name);
// Makes a request for a key that exists already (renewal, and a join tried again).
Result<std::string> signing_request_for(const std::string& private_key, const std::string& common_name);
// Signs as a client certificate for `common_name`, whatever name the request bears; its signature is verified.
Result<std::string> sign_client(const KeyPair& authority, const std::string& request, const std::string& common_name,
                                Time now, Duration valid);
// sha256 hex of a request's or certificate's public key.
Result<std::string> key_fingerprint_of_request(const std::string& request);
Result<std::string> key_fingerprint_of_certificate(const std::string& certificate);
// sha256 hex of the certificate's DER: what a join token carries.
Result<std::string> certificate_sha256(const std::string& certificate);
Result<Time> certificate_expiry(const std::string& certificate);
std::string sha256_hex(std::string_view bytes);
// Compares in constant time.
bool secrets_equal(std::string_view a, std::string_view b);

}  // namespace tutti::net
