#pragma once
// Who a request comes from (A01, A08): a bearer token, or the password of a registry login. Pure of state but the
// snapshot.

#include "manager/api/services.h"

namespace tutti::manager {

// `unauthenticated` without a valid token. Bootstrap credentials are valid only where `bootstrap_allowed`.
Result<Identity> identify(const Snapshot& state, const net::Request& request, Time now, bool bootstrap_allowed);
// Where a worker gets a new certificate for its key: all that it may call with one that has expired.
inline constexpr std::string_view kRenewPath = "/v1/worker/renew";
// A worker, by the certificate it showed: checked against the node's row on every call, so removal works at once.
Result<Identity> identify_worker(const Snapshot& state, const net::Request& request);

}  // namespace tutti::manager
