// The worker around its deciding half, before a manager that says no more than a test needs.
#include "worker/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "model/codec.h"
#include "net/authority.h"
#include "net/http.h"
#include "sys/file.h"

namespace tutti::worker {
namespace {

constexpr auto kDeadline = std::chrono::seconds(30);
constexpr InstanceId kInstance{7};
constexpr const char* kImage = "shop/web@sha256:0000000000000000000000000000000000000000000000000000000000000001";

// A value that another thread sets.
template <class T>
class Awaited {
 public:
  void set(T value) {
    std::lock_guard lock(mutex_);
    value_ = std::move(value);
    changed_.notify_all();
  }
  std::optional<T> get() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kDeadline, [this] { return value_.has_value(); });
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<T> value_;
};

// Runs nothing, and keeps whom to tell of an end.
class WaitedFor final : public driver::Driver {
 public:
  std::string name() const override { return "fake"; }
  driver::Capabilities capabilities() const override { return {.network = true}; }
  DriverInfo fingerprint() override { return {"fake", "", true, ""}; }
  driver::DriverStatus prepare(const driver::RunContext&, std::stop_token) override { return {}; }
  driver::DriverResult<driver::Handle> start(const driver::RunContext&, std::stop_token) override {
    return driver::Handle{};
  }
  driver::DriverResult<driver::Handle> recover(const driver::RunContext&) override { return driver::Handle{}; }
  void wait(const driver::RunContext&, const driver::Handle&, std::function<void(driver::ExitStatus)> done) override {
    waits.set(std::move(done));
  }
  driver::DriverStatus stop(const driver::RunContext&, const driver::Handle&, Duration, std::stop_token) override {
    return {};
  }
  driver::DriverStatus destroy(const driver::RunContext&) override { return {}; }
  driver::DriverStatus destroy_disk(const driver::RunContext&) override { return {}; }

  Awaited<std::function<void(driver::ExitStatus)>> waits;
};

class WatchedHost final : public HostServices {
 public:
  Status use(const WelcomeMessage&, const NodeIdentity&, const std::vector<LiveInstance>&) override {
    if (in_the_way) return fail(ErrorCode::conflict, "the subnet overlaps\nanother's");
    return {};
  }
  void renewed(const NodeIdentity& identity) override { renewed_as.set(identity); }
  driver::DriverResult<NetworkUp> network_up(InstanceId, const std::vector<PortBinding>&, NetworkMode) override {
    return NetworkUp{};
  }
  Status network_down(InstanceId) override { return {}; }
  Result<driver::ImageOnDisk> image(const std::string&) override { return driver::ImageOnDisk{}; }
  void on_images(std::function<void(NodeImages)>) override {}
  void tidy_images(const std::vector<std::string>& in_use, Time) override { tidied_but.set(in_use); }
  void sweep(const std::vector<InstanceId>& live) override {
    if (!in_the_way) swept_but.set(live);
  }

  std::atomic<bool> in_the_way = false;  // of the node's network
  Awaited<NodeIdentity> renewed_as;
  Awaited<std::vector<std::string>> tidied_but;
  Awaited<std::vector<InstanceId>> swept_but;
};

// Takes sessions, names what is there as it should be, and gives new certificates.
class SmallManager {
 public:
  SmallManager() {
    server_ = net::serve({}, {key_.certificate, key_.private_key, authority.certificate},
                         [this](auto request, auto responder) { answer(*request, *responder); })
                  .value();
  }
  ~SmallManager() {
    server_->stop();
    session_.reset();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(server_->port()); }

  // What a worker says of its driver, once that is healthy, or is not.
  DriverInfo told(bool healthy) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    std::optional<DriverInfo> last = told_.get();
    while (last && last->healthy != healthy && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
      last = told_.get();
    }
    return last.value_or(DriverInfo{});
  }

  std::atomic<bool> gives_up = false;  // the worker is cut off, and its instance not named any more
  const Time now = SystemClock().now();
  const net::KeyPair authority = net::make_authority("pool", now, seconds(400LL * 24 * 3600)).value();

 private:
  void answer(const net::Request& request, net::Responder& responder) {
    if (request.path == "/v1/worker/renew")
      return responder.send(
          {.body = net::sign_client(authority, request.body, "node", now, seconds(90LL * 24 * 3600)).value()});
    responder.websocket(
        [this](Result<std::shared_ptr<net::WebSocket>> opened) {
          if (!opened) return;
          session_ = *opened;
          net::WebSocket::Callbacks callbacks;
          callbacks.message = [this, socket = std::weak_ptr(session_)](const std::string& text, bool) {
            auto message = from_json<WorkerMessage>(text, {.allow_unknown = true, .what = "worker message"});
            auto to = socket.lock();
            if (!to || !message) return;
            if (message->hello) {
              told_.set(message->hello->inventory.drivers.at(0));
              return welcome(*to);
            }
            if (names_ && gives_up) to->close("cut off");
          };
          callbacks.closed = [](const std::string&) {};
          callbacks.drained = [] {};
          session_->start(std::move(callbacks));
        },
        1u << 20);
  }
  void welcome(net::WebSocket& socket) {
    names_ = !gives_up;
    ManagerMessage message;
    message.epoch = message.session = 1;
    message.welcome = WelcomeMessage{NodeId{1}, "node-1", "abcdef0123", "pool", "10.1.2.0/24", 1'000, 5'000, {}};
    socket.send(to_json(message), false);
    message.welcome.reset();
    message.assign = AssignMessage{};
    message.assign->complete = true;
    if (names_) message.assign->keep = {kInstance};
    socket.send(to_json(message), false);
  }

  const net::KeyPair key_ =
      net::issue_server(authority, "manager", {"127.0.0.1"}, now, seconds(400LL * 24 * 3600)).value();
  Awaited<DriverInfo> told_;
  std::shared_ptr<net::WebSocket> session_;
  bool names_ = true;  // in this session
  std::unique_ptr<net::Server> server_;
};

class WorkerTest : public testing::Test {
 protected:
  WorkerTest() {
    std::string pattern = testing::TempDir() + "/worker_test.XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    auto stub = std::make_unique<WaitedFor>();
    driver_ = stub.get();
    drivers_.add(std::move(stub));
  }
  ~WorkerTest() override {
    worker_.reset();
    std::filesystem::remove_all(base_);
  }

  // An earlier process left it running.
  void leave_running() {
    JobSpec spec;
    spec.job = "web";
    spec.tasks.resize(1);
    spec.tasks[0].name = "main";
    spec.tasks[0].driver = "fake";
    spec.tasks[0].image = "shop/web:1";
    InstanceRecord record;
    record.assignment.instance = kInstance;
    record.assignment.job = JobId{1};
    record.assignment.job_version = 1;
    record.spec = {JobId{1}, 1, std::make_shared<const JobSpec>(spec), {{"shop/web:1", kImage}}};
    TaskStatus status;
    status.task = "main";
    status.position = {1, 1, TaskState::running};
    record.tasks = {status};
    ASSERT_TRUE(sys::make_dirs(base_ + "/run/records", 0700));
    ASSERT_TRUE(Records(base_ + "/run/records").store(record));
    ASSERT_TRUE(sys::make_dirs(base_ + "/data/identity", 0700));
    ASSERT_TRUE(sys::write_file_atomic(base_ + "/data/identity/pool", "abcdef"));
  }
  // With a certificate that ends in so many days.
  void start(int64_t days = 90) {
    const auto request = net::make_signing_request("node").value();
    identity_.node = "node";
    identity_.name = "node-1";
    identity_.private_key = request.private_key;
    identity_.certificate =
        net::sign_client(manager_.authority, request.request, "node", manager_.now, seconds(days * 24 * 3600)).value();
    identity_.authority = manager_.authority.certificate;
    identity_.worker_address = manager_.address();
    WorkerOptions options;
    options.data_dir = options.fingerprint.data_dir = base_ + "/data";
    options.run_dir = base_ + "/run";
    auto worker = Worker::start(std::move(options), identity_, drivers_, host_);
    ASSERT_TRUE(worker) << worker.error().to_string();
    worker_ = std::move(*worker);
  }

  std::string base_;
  driver::Registry drivers_;
  WaitedFor* driver_ = nullptr;
  SmallManager manager_;
  WatchedHost host_;
  NodeIdentity identity_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(WorkerTest, WhatFetchesImagesGetsTheRenewedCertificate) {
  start(3);
  const auto renewed = host_.renewed_as.get();
  ASSERT_TRUE(renewed);
  EXPECT_NE(renewed->certificate, identity_.certificate);
  EXPECT_GT(net::certificate_expiry(renewed->certificate).value(), manager_.now + seconds(80LL * 24 * 3600));
  EXPECT_EQ(renewed->private_key, identity_.private_key);
}

TEST_F(WorkerTest, ANodeWithoutItsNetworkSaysSoUntilItHasOne) {
  host_.in_the_way = true;
  start();
  const DriverInfo without = manager_.told(false);
  EXPECT_FALSE(without.healthy);
  EXPECT_EQ(without.reason, "the node's network is not ready: the subnet overlaps another's");
  host_.in_the_way = false;
  const DriverInfo with = manager_.told(true);
  EXPECT_TRUE(with.healthy);
  EXPECT_EQ(with.reason, "");
}

TEST_F(WorkerTest, ANetworkThatComesLateIsSweptToo) {
  host_.in_the_way = true;
  start();
  EXPECT_FALSE(manager_.told(false).healthy);
  host_.in_the_way = false;
  EXPECT_EQ(host_.swept_but.get(), std::vector<InstanceId>{kInstance});
}

TEST_F(WorkerTest, ImagesOfItsInstancesAreNamedBeforeOthersAreRemoved) {
  leave_running();
  start();
  EXPECT_EQ(host_.tidied_but.get(), std::vector<std::string>{kImage});
}

TEST_F(WorkerTest, WhatWaitedToStartOverAndWasGivenUpLeavesNoDisk) {
  const std::string disk = base_ + "/data/disks/" + to_text(kInstance);
  ASSERT_TRUE(sys::make_dirs(disk + "/main", 0700));
  start();
  ASSERT_TRUE(host_.swept_but.get());
  EXPECT_TRUE(sys::exists(disk)) << "the manager has named it";
  manager_.gives_up = true;
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (sys::exists(disk) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(sys::exists(disk));
}

TEST_F(WorkerTest, AnEndThatIsToldWhenItHasGoneReachesNobody) {
  leave_running();
  start();
  const auto told = driver_->waits.get();
  ASSERT_TRUE(told);
  worker_.reset();
  (*told)({});
}

}  // namespace
}  // namespace tutti::worker
