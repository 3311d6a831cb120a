#pragma once
// Api: every route of the manager, over Services (services.h).
//
// One table (routes.cc) names method, path, right, summary and handler; the router, /v1/openapi.json and the tests read
// it. Handlers run on the servers' I/O threads, answer from a snapshot at once or from a commit later, and never block.

#include <memory>

#include "manager/api/services.h"

namespace tutti::manager {

class Api {
 public:
  explicit Api(Services& services);
  ~Api();

  // The API port: people and programs.
  void handle(std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder);
  // The workers' port: the peer's certificate says which node it is.
  void handle_worker(std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder);
  // How large a body may be, by route and by who sends it.
  net::Admission admit(const net::Request& head) const;
  static net::Admission admit_worker(const net::Request& head);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti::manager
