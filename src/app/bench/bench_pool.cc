// A pool to measure: `tutti up` of this very executable, in a temporary folder.
#include <fcntl.h>
#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

#include "app/bench/bench.h"
#include "base/text.h"
#include "sys/archive.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::app::bench {
namespace fs = std::filesystem;

namespace {

// The command line of a process, its words apart by spaces.
std::string command_line(const fs::path& proc) {
  std::string out = sys::read_file(proc.string() + "/cmdline").value_or("");
  for (char& c : out)
    if (c == '\0') c = ' ';
  return out;
}

template <class Condition>
bool eventually(Duration most, Condition holds) {
  const BootTime until = now() + most;
  while (!holds()) {
    if (now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<Pool>> Pool::start(int workers) {
  std::string name = fs::temp_directory_path() / "tutti-bench-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) return fail(ErrorCode::io, "no temporary folder " + name);
  std::unique_ptr<Pool> pool(new Pool);
  pool->data_ = name + "/pool";
  pool->log_ = name + "/log";
  // The user's own contexts stay as they are.
  setenv("TUTTI_CONFIG", (name + "/contexts.json").c_str(), 1);
  const sys::UniqueFd log(::open(pool->log_.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
  sys::SpawnOptions options;
  options.argv = {"/proc/self/exe", "up",         "--workers", std::to_string(workers), "--data",
                  pool->data_,      "--api-port", "0",         "--worker-port",         "0",
                  "--rm",           "--respawn",  "false"};
  options.inherit_env = true;
  options.fds = {{log.get(), 1}, {log.get(), 2}};
  TUTTI_TRY(pool->pid_, sys::spawn(options));
  TUTTI_CHECK(pool->ready(workers));
  return pool;
}

Status Pool::ready(int workers) {
  const bool up = eventually(seconds(60), [&] {
    auto context = cli::load_context("");
    if (!context) return false;
    context_ = *context;
    auto client = this->client();
    auto nodes = client ? call(**client, "GET", "/v1/nodes") : tl::make_unexpected(client.error());
    if (!nodes) return false;
    int ready = 0;
    for (const cli::Json& node : (*nodes)["items"].items()) ready += node["status.health"].text() == "ready" ? 1 : 0;
    return ready == workers;
  });
  if (!up) return fail(ErrorCode::timeout, "the pool was not ready within 60 s: " + sys::read_file(log_).value_or(""));
  if (workers == 0) return {};
  TUTTI_TRY(auto client, this->client());
  return import_image(*client);
}

Pool::~Pool() {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    if (auto fd = sys::pidfd_open(pid_); fd && !sys::pidfd_wait(fd->get(), seconds(60))) ::kill(pid_, SIGKILL);
    (void)sys::reap(pid_);
  }
  (void)sys::remove_tree(fs::path(data_).parent_path());
}

Result<std::unique_ptr<net::Client>> Pool::client() const {
  TUTTI_TRY(const net::Endpoint endpoint, net::parse_endpoint(context_.address));
  return net::make_client(endpoint, {context_.authority, {}, {}, {}});
}

net::Request Pool::request(const std::string& method, const std::string& path, const std::string& body) const {
  net::Request out;
  out.method = method;
  out.target = out.path = path;
  out.headers = {{"authorization", "Bearer " + context_.token}, {"content-type", "application/json"}};
  out.body = body;
  return out;
}

Result<cli::Json> Pool::call(net::Client& client, const std::string& method, const std::string& path,
                             const std::string& body) const {
  TUTTI_TRY(const net::Response answer, client.call(request(method, path, body), seconds(60)));
  if (answer.status >= 300) return tl::make_unexpected(cli::problem_of(answer));
  return cli::Json::parse(answer.body);
}

int Pool::process(const std::string& role) const {
  const std::string wanted = " --data " + data_ + "/" + role + " ";
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string line = command_line(entry.path());
    if (line.find(wanted) != std::string::npos && line.starts_with("tutti ")) return std::atoi(name.c_str());
  }
  return 0;
}

Status Pool::remove_job(net::Client& client, const std::string& name) const {
  TUTTI_CHECK(call(client, "DELETE", "/v1/jobs/" + name));
  const bool gone = eventually(seconds(60), [&] { return !call(client, "GET", "/v1/jobs/" + name); });
  return gone ? Status{} : fail(ErrorCode::timeout, "job " + name + " was not gone within 60 s");
}

Status Pool::import_image(net::Client& client) {
  const std::string folder = fs::path(data_).parent_path().string();
  TUTTI_CHECK(make_rootfs(folder + "/rootfs"));
  TUTTI_CHECK(sys::pack_directory_to_file(folder + "/rootfs", folder + "/rootfs.tar", {}));
  net::Request import = request("POST", "/v1/images:import?reference=bench:1");
  import.headers["content-type"] = "application/x-tar";
  TUTTI_TRY(const net::Response answer, client.upload(import, folder + "/rootfs.tar", seconds(60)));
  if (answer.status >= 300) return tl::make_unexpected(cli::problem_of(answer));
  return {};
}

Status make_rootfs(const std::string& directory) {
  const std::string busybox = sys::find_program("busybox");
  if (busybox.empty()) return fail(ErrorCode::unavailable, "busybox is missing: apt-get install busybox-static");
  TUTTI_CHECK(sys::make_dirs(directory + "/bin", 0755));
  for (const char* name : {"proc", "sys", "dev", "tmp", "etc"})
    TUTTI_CHECK(sys::make_dirs(directory + "/" + name, 0755));
  std::error_code problem;
  fs::copy_file(busybox, directory + "/bin/busybox", fs::copy_options::overwrite_existing, problem);
  for (const char* name : {"sh", "sleep"})
    if (!problem) fs::create_symlink("busybox", directory + "/bin/" + name, problem);
  return problem ? fail(ErrorCode::io, "cannot fill " + directory + ": " + problem.message()) : Status{};
}

// ---- what runs, as it is reported
struct RunningWatch::Shared {
  std::mutex mutex;
  std::map<std::string, BootTime> first;     // instance → when
  std::map<std::string, std::string> nodes;  // instance → where
  std::unique_ptr<net::Client> client;
  std::thread thread;
};

RunningWatch::RunningWatch(const Pool& pool) : shared_(std::make_shared<Shared>()) {
  auto client = pool.client();
  if (!client) return;
  shared_->client = std::move(*client);
  // The cursor is taken before anything is submitted, so nothing is missed.
  auto at = pool.call(*shared_->client, "GET", "/v1/instances?limit=1");
  const std::string cursor = at ? (*at)["revision"].text() : "";
  const net::Request request = pool.request("GET", "/v1/instances?watch=1&from=" + cursor);
  shared_->thread = std::thread([shared = shared_.get(), request] {
    std::string rest;
    (void)shared->client->stream(
        request,
        [&](std::string_view bytes) {
          rest += bytes;
          for (size_t end = 0; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
            const std::string_view line(rest.data(), end);
            // The state stands in every row; a full parse per event would cost more than what is measured.
            if (!line.starts_with("data: ") || line.find("\"state\":\"running\"") == std::string_view::npos) continue;
            auto event = cli::Json::parse(std::string(line.substr(6)));
            if (!event || (*event)["object.status.state"].text() != "running") continue;
            std::lock_guard lock(shared->mutex);
            const std::string id = (*event)["object.status.job"].text() + "/" + (*event)["object.id"].text();
            shared->first.try_emplace(id, now());
            shared->nodes[id] = (*event)["object.status.node"].text();
          }
          return true;
        },
        seconds(600));
  });
}

RunningWatch::~RunningWatch() {
  if (shared_->client) shared_->client->interrupt();
  if (shared_->thread.joinable()) shared_->thread.join();
}

Result<BootTime> RunningWatch::wait(const std::string& job, size_t count, Duration timeout) {
  const BootTime until = now() + timeout;
  while (true) {
    size_t seen = 0;
    BootTime last;
    {
      std::lock_guard lock(shared_->mutex);
      for (auto at = shared_->first.lower_bound(job + "/");
           at != shared_->first.end() && at->first.starts_with(job + "/"); ++at)
        ++seen, last = std::max(last, at->second);
    }
    if (seen >= count) return last;
    if (now() > until)
      return fail(ErrorCode::timeout, fmt::format("{} of {} instances of {} were running in time", seen, count, job));
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
}

std::map<std::string, size_t> RunningWatch::by_node(const std::string& job) {
  std::lock_guard lock(shared_->mutex);
  std::map<std::string, size_t> out;
  for (const auto& [id, node] : shared_->nodes)
    if (id.starts_with(job + "/")) ++out[node];
  return out;
}

}  // namespace tutti::app::bench
