#include "manager/api/api.h"

#include <algorithm>
#include <atomic>
#include <set>

#include "base/limits.h"
#include "base/log.h"
#include "catalog/distribution.h"
#include "manager/api/auth.h"
#include "manager/api/hub.h"
#include "manager/api/query.h"
#include "manager/api/refusal.h"
#include "manager/api/routes.h"

namespace tutti::manager {
namespace {

bool allowed(Right right, const Identity& identity) {
  switch (right) {
    case Right::nobody:
    case Right::any: return true;
    case Right::viewer: return identity.role != Role::scheduler;
    case Right::operator_: return may_write(identity.role);
    case Right::admin: return pool_admin(identity);
    case Right::scheduler:
      return pool_admin(identity) || (identity.role == Role::scheduler && identity.project.empty());
  }
  return false;
}

// Those that the instances of a node have their images from.
std::set<std::string> repositories_of(const Snapshot& state, NodeId node) {
  std::set<std::string> out;
  std::set<const JobVersion*> seen;
  const IdSet* ids = state.instances_by_node.find(node.value);
  if (ids == nullptr) return out;
  ids->for_each([&](uint64_t id, const Unit&) {
    const Instance* instance = state.instances.find(id);
    const JobVersion* version = instance != nullptr ? state.version_of(*instance) : nullptr;
    if (version == nullptr || !seen.insert(version).second) return;
    for (const auto& [reference, resolved] : version->images) out.insert(resolved.substr(0, resolved.find('@')));
  });
  return out;
}

std::string_view word(Right right) {
  return right == Right::admin ? "admin of the whole pool" : "operator";
}

net::Admission admission_of(const net::Request& head) {
  if (catalog::Distribution::owns(head.path)) return catalog::Distribution::admit(head);
  net::Admission admission;
  admission.body_bytes_max = limits::kRequestBodyBytesMax;
  const bool files = head.method == "PUT" && head.path.starts_with("/v1/instances/") && head.path.ends_with("/files");
  if (files || (head.method == "POST" && head.path == "/v1/images:import")) {
    admission.stream_body = true;
    admission.body_bytes_max = limits::kBlobBytesMax;
  }
  return admission;
}

}  // namespace

struct Api::Impl {
  explicit Impl(Services& s) : services(s), hub(s) {}

  std::shared_ptr<Call> make_call(std::shared_ptr<const net::Request> request,
                                  std::shared_ptr<net::Responder> responder) {
    return std::make_shared<Call>(Call{services,
                                       hub,
                                       std::move(request),
                                       std::move(responder),
                                       {},
                                       {},
                                       "r" + std::to_string(++requests),
                                       services.snapshot()});
  }

  void registry(const CallPtr& call, Result<Identity> identity, bool worker) {
    if (!identity) {
      if (worker) return answer_error(*call, identity.error());
      return call->responder->send(catalog::registry_unauthorized("tutti"));
    }
    call->responder->known();
    catalog::Access access;
    access.identity = identity->text;
    access.can_pull = true;
    access.can_pull_from = [](const std::string&) { return true; };
    if (worker) {  // what its instances need, and nothing else
      auto mine = std::make_shared<const std::set<std::string>>(repositories_of(*call->state, identity->node));
      access.can_pull = mine->contains(catalog::Distribution::wanted(*call->request).repository);
      access.can_pull_from = [mine](const std::string& repository) { return mine->contains(repository); };
    }
    access.can_push = access.can_delete = !worker && may_write(identity->role);
    services.distribution().handle(call->request, call->responder, std::move(access));
  }

  void route(const CallPtr& call) {
    const net::Request& request = *call->request;
    std::string allowed_here;  // the methods that this path has
    for (const Route& route : routes()) {
      if (!match_path(route.path, request.path, call->params)) continue;
      allowed_here +=
          (allowed_here.empty() ? "" : ", ") + std::string(route.method == "GET" ? "GET, HEAD" : route.method);
      if (route.method != request.method && !(request.method == "HEAD" && route.method == "GET")) continue;
      if (route.right != Right::nobody) {
        Result<Identity> identity = identify(*call->state, request, services.clock().now(), route.right == Right::any);
        if (!identity) return answer_error(*call, identity.error());
        if (!allowed(route.right, *identity)) {
          return answer_error(*call, Error{ErrorCode::forbidden,
                                           "this needs the role " + std::string(word(route.right)) + "; " +
                                               identity->text + " does not have it",
                                           {},
                                           0});
        }
        call->responder->known();
        call->identity = std::move(*identity);
      }
      if (Status known = check_query(route, request.query); !known) return answer_error(*call, known.error());
      return route.handler(call);
    }
    if (!allowed_here.empty()) return call->responder->send(wrong_method(request, allowed_here, call->request_id));
    answer_error(*call, Error{ErrorCode::not_found,
                              "there is no " + request.path + ": see /v1/openapi.json or /swagger/index.html",
                              {},
                              0});
  }

  Services& services;
  CommitHub hub;
  std::atomic<uint64_t> requests{0};
};

Api::Api(Services& services) : impl_(std::make_unique<Impl>(services)) {}
Api::~Api() = default;

// Bodies are gathered before the handler sees the request: a stranger's must not fill the memory.
net::Admission Api::admit(const net::Request& head) const {
  net::Admission admission = admission_of(head);
  const bool small =
      head.header("transfer-encoding").empty() && head.header("content-length").size() <= 4;  // under 10,000
  if (small || admission.stream_body || admission.body_bytes_max <= limits::kStrangerBodyBytesMax) return admission;
  const Services& services = impl_->services;
  if (!identify(*services.snapshot(), head, services.clock().now(), true))
    admission.body_bytes_max = limits::kStrangerBodyBytesMax;
  return admission;
}

net::Admission Api::admit_worker(const net::Request& head) {
  net::Admission admission = admission_of(head);
  if (!admission.stream_body)
    admission.body_bytes_max =
        std::min(admission.body_bytes_max, limits::kStrangerBodyBytesMax);  // a worker has small ones only
  return admission;
}

void Api::handle(std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder) {
  auto call = impl_->make_call(std::move(request), std::move(responder));
  log_debug("request", {{"id", call->request_id},
                        {"method", call->request->method},
                        {"path", call->request->path},
                        {"from", call->request->remote}});
  if (catalog::Distribution::owns(call->request->path)) {
    return impl_->registry(call, identify(*call->state, *call->request, impl_->services.clock().now(), false), false);
  }
  impl_->route(call);
}

void Api::handle_worker(std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder) {
  auto call = impl_->make_call(std::move(request), std::move(responder));
  Result<Identity> identity = identify_worker(*call->state, *call->request);
  if (catalog::Distribution::owns(call->request->path)) return impl_->registry(call, std::move(identity), true);
  if (!identity) return answer_error(*call, identity.error());
  const std::string& path = call->request->path;
  if (path == "/v1/worker/session")
    return impl_->services.accept_session(*identity, call->request->peer_fingerprint, call->responder);
  if (path == "/v1/worker/stream") {
    if (!impl_->services.accept_stream(*identity, call->query("ticket"), call->responder)) {
      answer_error(*call, Error{ErrorCode::not_found, "no such stream is waited for", {}, 0});
    }
    return;
  }
  if (path == kRenewPath && call->request->method == "POST") {
    // The same key gets a new certificate; another key has to join.
    Result<std::string> fingerprint = net::key_fingerprint_of_request(call->request->body);
    if (!fingerprint || *fingerprint != call->request->peer_fingerprint) {
      return answer_error(*call, Error{ErrorCode::forbidden, "a certificate is renewed for its own key only", {}, 0});
    }
    auto renewed = net::sign_client(impl_->services.authority(), call->request->body, to_text(identity->node),
                                    impl_->services.clock().now(), seconds(limits::kCertificateSeconds));
    if (!renewed) return answer_error(*call, renewed.error());
    net::Response response;
    response.content_type = "application/x-pem-file";
    response.body = *renewed;
    return call->responder->send(std::move(response));
  }
  answer_error(*call, Error{ErrorCode::not_found, "there is no " + path + " on the workers' port", {}, 0});
}

}  // namespace tutti::manager
