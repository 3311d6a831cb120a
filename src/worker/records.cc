#include "worker/records.h"

#include <dirent.h>

#include "base/limits.h"
#include "base/log.h"
#include "model/codec.h"
#include "model/join.h"
#include "model/problem.h"
#include "net/authority.h"
#include "net/http.h"
#include "sys/file.h"

namespace tutti::worker {

Result<std::vector<InstanceRecord>> Records::load() const {
  TUTTI_CHECK(sys::make_dirs(dir_, 0700));
  std::vector<InstanceRecord> out;
  DIR* dir = ::opendir(dir_.c_str());
  if (dir == nullptr) return fail_errno("open " + dir_, errno);
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (!name.ends_with(".json")) continue;
    auto text = sys::read_file(dir_ + "/" + name);
    auto record = text ? from_json<InstanceRecord>(*text, {.allow_unknown = true}) : tl::make_unexpected(text.error());
    if (record && record->spec.spec) {
      out.push_back(std::move(*record));
    } else {
      log_warning("a record cannot be read",
                  {{"file", name}, {"error", record ? "no spec" : record.error().to_string()}});
    }
  }
  ::closedir(dir);
  return out;
}

Status Records::store(const InstanceRecord& record) const {
  return sys::write_file_atomic(dir_ + "/" + to_text(record.assignment.instance) + ".json",
                                to_json(record, {.omit_defaults = true}), {0600, false});
}

Status Records::drop(InstanceId instance) const {
  return sys::remove_tree(dir_ + "/" + to_text(instance) + ".json");
}

Result<NodeIdentity> load_identity(const std::string& data_dir) {
  TUTTI_TRY(const std::string text, sys::read_file(data_dir + "/identity/node.json"));
  return from_json<NodeIdentity>(text, {.allow_unknown = true, .what = "identity"});
}

Status save_identity(const std::string& data_dir, const NodeIdentity& identity) {
  TUTTI_CHECK(sys::make_dirs(data_dir + "/identity", 0700));
  return sys::write_file_atomic(data_dir + "/identity/node.json", to_json(identity), {0600, true});
}

Result<NodeIdentity> join(const std::string& data_dir, const std::string& address, const std::string& token,
                          const std::string& name) {
  const size_t last = token.rfind('.');
  if (last == std::string::npos || token.find('.') == last) {
    return fail(ErrorCode::invalid, "a join token looks like <id>.<secret>.<hash>: make one with 'tutti node token'");
  }
  TUTTI_CHECK(sys::make_dirs(data_dir + "/identity", 0700));
  const std::string key_path = data_dir + "/identity/key.pem";
  JoinRequest request;
  request.token = token.substr(0, last);
  request.name = name;
  std::string key;
  if (auto present = sys::read_file(key_path)) {
    key = *present;
    TUTTI_TRY(request.request, net::signing_request_for(key, "worker"));
  } else {
    TUTTI_TRY(net::SigningRequest made, net::make_signing_request("worker"));
    key = made.private_key;
    request.request = made.request;
    TUTTI_CHECK(sys::write_file_atomic(key_path, key, {0600, true}));
  }
  TUTTI_TRY(const net::Endpoint endpoint, net::parse_endpoint(address));
  net::ClientTls tls;
  tls.authority_sha256 = token.substr(last + 1);
  TUTTI_TRY(auto client, net::make_client(endpoint, tls));
  net::Request call;
  call.method = "POST";
  call.target = call.path = "/v1/join";
  call.headers["content-type"] = "application/json";
  call.body = to_json(request);
  TUTTI_TRY(const net::Response answer, client->call(call, seconds(30)));
  if (answer.status != 201)
    return tl::make_unexpected(
        problem_of(answer.status, answer.body).in("the manager at " + address + " refused the join"));
  TUTTI_TRY(const JoinAnswer joined,
            from_json<JoinAnswer>(answer.body, {.allow_unknown = true, .what = "join answer"}));
  NodeIdentity identity{joined.node, joined.name, joined.certificate, key, joined.authority, joined.worker_address};
  // The manager knows itself by the name it advertises; we know an address that works.
  TUTTI_TRY(const net::Endpoint advertised, net::parse_endpoint(joined.worker_address));
  identity.worker_address = endpoint.host + ":" + std::to_string(advertised.port);
  TUTTI_CHECK(save_identity(data_dir, identity));
  return identity;
}

Result<bool> renew(const std::string& data_dir, NodeIdentity& identity, Time now) {
  TUTTI_TRY(const Time expiry, net::certificate_expiry(identity.certificate));
  if (expiry - now > seconds(limits::kCertificateRenewSeconds)) return false;
  TUTTI_TRY(const net::Endpoint endpoint, net::parse_endpoint(identity.worker_address));
  TUTTI_TRY(auto client,
            net::make_client(endpoint, {identity.authority, {}, identity.certificate, identity.private_key}));
  net::Request call;
  call.method = "POST";
  call.target = call.path = "/v1/worker/renew";
  TUTTI_TRY(call.body, net::signing_request_for(identity.private_key, identity.node));
  TUTTI_TRY(const net::Response answer, client->call(call, seconds(30)));
  if (answer.status != 200) return fail(ErrorCode::forbidden, "the certificate was not renewed: " + answer.body);
  identity.certificate = answer.body;
  TUTTI_CHECK(save_identity(data_dir, identity));
  return true;
}

}  // namespace tutti::worker
