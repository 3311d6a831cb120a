#pragma once
// What the tests of net share: a pool's authority, a server on loopback, conditions awaited with a deadline.

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "net/authority.h"
#include "net/http.h"

namespace tutti::net::testing {

inline Time wall_now() {
  return Time{std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
                  .count()};
}

// A value one thread sets and another waits for.
template <class T>
class Promised {
 public:
  void set(T value) {
    std::lock_guard lock(mutex_);
    value_ = std::make_unique<T>(std::move(value));
    changed_.notify_all();
  }
  // Fails the test, and gives T{}, after 20 s.
  T get() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [this] { return value_ != nullptr; })) {
      ADD_FAILURE() << "nothing came in 20 s";
      return T{};
    }
    return *value_;
  }
  bool is_set() {
    std::lock_guard lock(mutex_);
    return value_ != nullptr;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<T> value_;
};

// Polls until it holds or 20 s are over.
inline bool eventually(const std::function<bool()>& holds) {
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

struct Pool {
  KeyPair authority = make_authority("test authority", wall_now(), seconds(3600)).value();
  KeyPair server = issue_server(authority, "manager", {"127.0.0.1", "localhost"}, wall_now(), seconds(3600)).value();

  TlsFiles files(bool mutual = false) const {
    return {server.certificate, server.private_key, mutual ? authority.certificate : std::string()};
  }
  ClientTls trusting() const { return {authority.certificate, {}, {}, {}}; }
  ClientTls as(const std::string& name) const {
    SigningRequest request = make_signing_request(name).value();
    std::string certificate = sign_client(authority, request.request, name, wall_now(), seconds(3600)).value();
    return {authority.certificate, {}, certificate, request.private_key};
  }
};

inline Request get(std::string target) {
  Request request;
  request.method = "GET";
  request.target = std::move(target);
  return request;
}
inline Request post(std::string target, std::string body) {
  Request request;
  request.method = "POST";
  request.target = std::move(target);
  request.body = std::move(body);
  return request;
}

// Stops the server before what stands above it in a test, and its handlers refer to, goes away.
struct StopFirst {
  std::unique_ptr<Server>& server;
  ~StopFirst() { server.reset(); }
};

class NetTest : public ::testing::Test {
 protected:
  // A server with these handlers; port() afterwards.
  void serve_with(Handler handler, ServerOptions options = {}, bool mutual = false) {
    auto made = serve(std::move(options), pool_.files(mutual), std::move(handler));
    ASSERT_TRUE(made) << made.error().message;
    server_ = std::move(*made);
  }
  std::unique_ptr<Client> client(const ClientTls& tls) {
    return make_client({"127.0.0.1", server_->port()}, tls).value();
  }
  std::unique_ptr<Client> client() { return client(pool_.trusting()); }

  Pool pool_;
  std::unique_ptr<Server> server_;
};

}  // namespace tutti::net::testing
