// Scale: a manager with thousands of simulated workers (`tutti sim fleet`), all on this machine's cores.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <thread>

#include "app/bench/bench.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::app::bench {
namespace {

// Job sizes of the large run, again and again: 1 to 10,000.
constexpr int64_t kSizes[] = {10'000, 1, 10'000, 10, 10'000, 100, 10'000, 1'000, 10'000, 5'000};

struct Usage {
  double cpu_seconds = 0;
  double rss_mib = 0;
};

// Of /proc/<pid>: processor time so far, and what is resident.
Usage usage_of(int pid) {
  const std::string proc = "/proc/" + std::to_string(pid);
  Usage out;
  const std::string stat = sys::read_file(proc + "/stat").value_or("");
  long long user = 0;
  long long system = 0;
  if (const size_t at = stat.rfind(')'); at != std::string::npos)
    std::sscanf(stat.c_str() + at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &user, &system);
  out.cpu_seconds = static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  const std::string status = sys::read_file(proc + "/status").value_or("");
  if (const size_t at = status.find("VmRSS:"); at != std::string::npos)
    out.rss_mib = std::atof(status.c_str() + at + 6) / 1024;
  return out;
}

// Simulated workers in a process of their own, until this goes.
class Fleet {
 public:
  static Result<std::unique_ptr<Fleet>> start(const Pool& pool, int nodes) {
    TUTTI_TRY(auto client, pool.client());
    TUTTI_TRY(const cli::Json token, pool.call(*client, "POST", "/v1/join-tokens", R"({"role":"worker","uses":-1})"));
    std::unique_ptr<Fleet> fleet(new Fleet);
    fleet->log_ = std::filesystem::path(pool.data()).parent_path() / "fleet.log";
    const sys::UniqueFd log(::open(fleet->log_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    sys::SpawnOptions options;
    // Room for 400 instances of 10m each: what a run has, spread over all of them.
    options.argv = {"/proc/self/exe",
                    "sim",
                    "fleet",
                    "--nodes",
                    std::to_string(nodes),
                    "--manager",
                    pool.context().address,
                    "--token",
                    token["token"].text(),
                    "--cpu",
                    "4c"};
    options.inherit_env = true;
    options.fds = {{log.get(), 1}, {log.get(), 2}};
    TUTTI_TRY(fleet->pid_, sys::spawn(options));
    TUTTI_TRY(const sys::UniqueFd ended, sys::pidfd_open(fleet->pid_));
    const std::string wanted = fmt::format("\n{} connected", nodes);
    const BootTime start = now();
    while (("\n" + sys::read_file(fleet->log_).value_or("")).find(wanted) == std::string::npos) {
      if (sys::pidfd_wait(ended.get(), milliseconds(100)) || seconds_since(start) > 900)
        return fail(ErrorCode::timeout,
                    "the simulated workers were not connected: " + sys::read_file(fleet->log_).value_or(""));
    }
    fleet->joined_seconds_ = seconds_since(start);
    return fleet;
  }
  ~Fleet() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    (void)sys::reap(pid_);
  }
  int pid() const { return pid_; }
  double joined_seconds() const { return joined_seconds_; }

 private:
  Fleet() = default;
  int pid_ = 0;
  std::string log_;
  double joined_seconds_ = 0;
};

std::string fake_job(const std::string& name, int64_t count) {
  return fmt::format(
      R"({{"job":"{}","tasks":[{{"name":"main","driver":"fake","command":["x"],"count":{},"resources":{{"cpu":"10m","memory":"16Mi"}}}}]}})",
      name, count);
}

// Until the pool, or a job of it, says that so many run: what a worker has reported, and its commit is on disk.
Status wait_running(const Pool& pool, net::Client& client, const std::string& path, int64_t wanted, Duration most) {
  const BootTime start = now();
  int64_t running = 0;
  while (seconds_since(start) < static_cast<double>(most.ns) / 1e9) {
    TUTTI_TRY(const cli::Json answer, pool.call(client, "GET", path));
    running = std::atoll(answer["status.running"].text().c_str());
    if (running >= wanted) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return fail(ErrorCode::timeout, fmt::format("{} of {} instances were running in time", running, wanted));
}

// Reads every byte of a list of so many instances into `body`; how long it took, in ms.
Result<double> list_ms(const Pool& pool, net::Client& client, const std::string& path, int64_t rows,
                       std::string& body) {
  body.clear();
  const BootTime asked = now();
  TUTTI_TRY(const net::Response head, client.stream(
                                          pool.request("GET", path),
                                          [&](std::string_view piece) {
                                            body += piece;
                                            return true;
                                          },
                                          seconds(60)));
  const double took = seconds_since(asked) * 1e3;
  if (head.status >= 300) return tl::make_unexpected(cli::problem_of(head));
  constexpr std::string_view kRow = "{\"kind\":\"instance\"";
  int64_t read = 0;
  for (size_t at = body.find(kRow); at != std::string::npos; at = body.find(kRow, at + kRow.size())) ++read;
  if (read != rows) return fail(ErrorCode::internal, fmt::format("{} has {} rows, not {}", path, read, rows));
  return took;
}

// Follows every instance: when the first of each job whose name begins so was first seen placed. Of no name: it only
// counts, since a parse per event of a hundred watches would cost more than what is measured.
class PlacedWatch {
 public:
  static Result<std::unique_ptr<PlacedWatch>> open(const Pool& pool, const std::string& prefix) {
    std::unique_ptr<PlacedWatch> out(new PlacedWatch);
    TUTTI_TRY(out->client_, pool.client());
    TUTTI_TRY(const cli::Json at, pool.call(*out->client_, "GET", "/v1/instances?limit=1"));
    const net::Request request = pool.request("GET", "/v1/instances?watch=1&from=" + at["revision"].text());
    out->thread_ = std::thread([self = out.get(), request, job = prefix.empty() ? "" : "\"job\":\"" + prefix] {
      std::string rest;
      const auto over = self->client_->stream(
          request, [&](std::string_view bytes) { return self->take(rest, bytes, job); }, seconds(600));
      self->ended(over ? cli::problem_of(*over) : over.error());
    });
    return out;
  }
  ~PlacedWatch() {
    client_->interrupt();
    if (thread_.joinable()) thread_.join();
  }
  std::map<std::string, BootTime> placed() {
    std::lock_guard lock(mutex_);
    return placed_;
  }
  int64_t events() const { return events_; }
  // Why nothing more is seen; it goes on until this goes.
  Status still() {
    std::lock_guard lock(mutex_);
    if (problem_) return tl::make_unexpected(*problem_);
    return {};
  }

 private:
  PlacedWatch() = default;
  void ended(Error why) {
    std::lock_guard lock(mutex_);
    why.message = "a watch of the instances ended: " + why.message;
    problem_ = std::move(why);
  }
  bool take(std::string& rest, std::string_view bytes, const std::string& wanted) {
    rest += bytes;
    size_t from = 0;
    for (size_t end = 0; (end = rest.find('\n', from)) != std::string::npos; from = end + 1) {
      const std::string_view line(rest.data() + from, end - from);
      if (!line.starts_with("data: ")) continue;
      ++events_;
      const size_t job = wanted.empty() ? std::string_view::npos : line.find(wanted);
      if (job == std::string_view::npos || line.find("\"node\":\"\"") != std::string_view::npos) continue;
      const size_t close = line.find('"', job + 7);
      std::lock_guard lock(mutex_);
      placed_.try_emplace(std::string(line.substr(job + 7, close - job - 7)), now());
    }
    rest.erase(0, from);
    return true;
  }

  std::unique_ptr<net::Client> client_;
  std::thread thread_;
  std::mutex mutex_;
  std::map<std::string, BootTime> placed_;
  std::optional<Error> problem_;
  std::atomic<int64_t> events_{0};
};

// What a process uses of a core.
double cores_of(int pid, double for_seconds) {
  const Usage before = usage_of(pid);
  const BootTime start = now();
  std::this_thread::sleep_for(std::chrono::duration<double>(for_seconds));
  return (usage_of(pid).cpu_seconds - before.cpu_seconds) / seconds_since(start);
}

// The same, once what a large run left behind (pages to write, memory to give back) is done.
double settled_cores_of(int pid, double for_seconds) {
  double last = cores_of(pid, for_seconds);
  for (int i = 0; i < 24; ++i) {
    const double next = cores_of(pid, for_seconds);
    if (std::abs(next - last) < 0.1 * last) return next;
    last = next;
  }
  return last;
}

struct Paced {
  std::vector<double> placed_ms;  // from the request to its instance seen on a node
  std::vector<double> disk_ms;    // what the disk took meanwhile to make a page durable
  double per_second = 0;          // as reached
  double cpu_ms_each = 0;         // of the manager's processor, per job, beyond what it uses idle
};

// Jobs of one instance, each at its time whatever became of those before it, over so many connections. `idle`: the
// cores that the manager uses without them.
Result<Paced> submit_paced(const Pool& pool, const std::string& prefix, int per_second, double for_seconds,
                           double idle) {
  constexpr int kConnections = 8;
  TUTTI_TRY(auto watch, PlacedWatch::open(pool, prefix));
  const int manager = pool.process("manager");
  const Usage before = usage_of(manager);
  const int jobs = static_cast<int>(per_second * for_seconds);
  std::vector<BootTime> asked(static_cast<size_t>(jobs));
  std::atomic<int> next{0};
  std::mutex mutex;
  std::optional<Error> problem;
  const BootTime start = now();
  const DiskWatch disk(pool.data());
  std::vector<std::thread> threads;
  for (int c = 0; c < kConnections; ++c) {
    threads.emplace_back([&] {
      const auto failed = [&](const Error& error) {
        std::lock_guard lock(mutex);
        problem = error;
      };
      auto client = pool.client();
      if (!client) return failed(client.error());
      for (int i = next++; i < jobs; i = next++) {
        const BootTime at = start + Duration{static_cast<int64_t>(i) * 1'000'000'000 / per_second};
        if (const Duration wait = at - now(); wait.ns > 0)
          std::this_thread::sleep_for(std::chrono::nanoseconds(wait.ns));
        asked[static_cast<size_t>(i)] = at;  // its time, not when a connection was free
        auto answer =
            (*client)->call(pool.request("POST", "/v1/jobs", fake_job(prefix + std::to_string(i), 1)), seconds(30));
        if (!answer || answer->status >= 300) return failed(answer ? cli::problem_of(*answer) : answer.error());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (problem) return tl::make_unexpected(*problem);
  Paced out;
  out.per_second = jobs / seconds_since(start);
  out.disk_ms = disk.ms();
  std::map<std::string, BootTime> placed;
  for (const BootTime until = now() + seconds(20); now() < until;
       std::this_thread::sleep_for(std::chrono::milliseconds(50))) {
    TUTTI_CHECK(watch->still());
    placed = watch->placed();
    if (placed.size() >= static_cast<size_t>(jobs)) break;
  }
  for (int i = 0; i < jobs; ++i) {
    const auto at = placed.find(prefix + std::to_string(i));
    if (at == placed.end())
      return fail(ErrorCode::timeout,
                  fmt::format("{} of {} jobs were not seen placed", jobs - static_cast<int>(placed.size()), jobs));
    out.placed_ms.push_back(static_cast<double>((at->second - asked[static_cast<size_t>(i)]).ns) / 1e6);
  }
  const double used = usage_of(manager).cpu_seconds - before.cpu_seconds - idle * seconds_since(start);
  out.cpu_ms_each = used * 1e3 / jobs;
  return out;
}

Figure noted(Figure figure, std::string note) {
  figure.note = std::move(note);
  return figure;
}

}  // namespace

Result<std::vector<Figure>> bench_fleet(const Options& options) {
  const int nodes = options.quick ? 200 : 6'100;
  const int64_t wanted = options.quick ? 40'000 : 2'000'000;
  TUTTI_TRY(auto pool, Pool::start(0));
  TUTTI_TRY(auto client, pool->client());
  const int manager = pool->process("manager");
  const double bare_mib = usage_of(manager).rss_mib;
  TUTTI_TRY(auto fleet, Fleet::start(*pool, nodes));
  const double paced_for = options.quick ? 1 : 10;
  const double idle_before = cores_of(manager, options.quick ? 1 : 5);
  TUTTI_TRY(const Paced few, submit_paced(*pool, "few-", 100, paced_for, idle_before));
  const int64_t there = std::ssize(few.placed_ms);
  const Usage manager_before = usage_of(manager);
  const Usage fleet_before = usage_of(fleet->pid());
  const BootTime start = now();
  int64_t submitted = 0;
  int jobs = 0;
  for (; submitted < wanted; ++jobs) {
    const int64_t count = std::min(wanted - submitted, kSizes[static_cast<size_t>(jobs) % std::size(kSizes)]);
    TUTTI_CHECK(pool->call(*client, "POST", "/v1/jobs", fake_job("fleet-" + std::to_string(jobs), count)));
    submitted += count;
  }
  TUTTI_CHECK(wait_running(*pool, *client, "/v1/pool", there + wanted, seconds(600)));
  const double took = seconds_since(start);
  const Usage manager_after = usage_of(manager);
  const Usage fleet_after = usage_of(fleet->pid());
  const auto count = static_cast<double>(wanted);
  Figure run = options.quick ? plain("fleet.run", took, "s") : below("fleet.run", took, "s", 60);
  run.note = fmt::format(
      "{} instances in {} jobs of 1 to 10,000 on {} simulated workers, first submit to all reported running and "
      "durable; workers in one process on the same cores",
      wanted, jobs, nodes);
  std::vector<Figure> out{
      run,
      noted(plain("fleet.joined", fleet->joined_seconds(), "s"),
            "every worker with a key and a certificate of its own"),
      plain("fleet.manager_cpu", manager_after.cpu_seconds - manager_before.cpu_seconds, "s"),
      plain("fleet.workers_cpu", fleet_after.cpu_seconds - fleet_before.cpu_seconds, "s"),
      plain("fleet.memory_per_session", (manager_before.rss_mib - bare_mib) * 1024 / nodes, "KiB"),
      plain("fleet.memory_per_instance", (manager_after.rss_mib - manager_before.rss_mib) * 1024 * 1024 / count, "B")};
  // What one more costs, in a pool of this many. With the first ones the checkpoint of the run falls due: that is the
  // run's cost.
  const double idle = settled_cores_of(manager, options.quick ? 1 : 5);
  TUTTI_TRY(const Paced first, submit_paced(*pool, "first-", 100, paced_for, idle));
  TUTTI_TRY(const Paced one, submit_paced(*pool, "one-", 100, paced_for, idle));
  Figure each = plain("fleet.cpu_per_submit", one.cpu_ms_each, "ms");
  each.peer = fmt::format("the same with {} instances there", there);
  each.peer_value = few.cpu_ms_each;
  each.note = fmt::format(
      "manager's processor per job of one instance with {} there, beyond its idle use; {:.2f} ms while the "
      "checkpoint of the run is written",
      wanted, first.cpu_ms_each);
  out.push_back(each);
  return out;
}

Result<std::vector<Figure>> bench_steady(const Options& options) {
  const int nodes = options.quick ? 200 : 10'000;
  const double span = options.quick ? 2 : 10;
  TUTTI_TRY(auto pool, Pool::start(0));
  TUTTI_TRY(auto client, pool->client());
  TUTTI_TRY(auto fleet, Fleet::start(*pool, nodes));
  const int manager = pool->process("manager");
  std::vector<Figure> out;
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const double idle = cores_of(manager, span);
  out.push_back(noted(
      options.quick ? plain("steady.heartbeats", idle * 100, "%") : below("steady.heartbeats", idle * 100, "%", 10),
      fmt::format("of a core, the manager with {} idle workers", nodes)));
  TUTTI_TRY(const Paced few, submit_paced(*pool, "few-", 100, span / 2, idle));
  out.push_back(noted(plain("steady.cpu_per_submit", few.cpu_ms_each, "ms"),
                      "manager's processor per job of one instance, beyond its idle use"));

  TUTTI_TRY(const Paced load, submit_paced(*pool, "paced-", 1'000, span, idle));
  out.push_back(below("steady.placed_p99", quantile(load.placed_ms, 0.99), "ms", 10));
  // One after the other waits for the disk twice, and for what is under way before it.
  out.back().peer = "fdatasync of 4 KiB on the same disk in the same seconds, p99";
  out.back().peer_value = quantile(load.disk_ms, 0.99);
  out.back().note = fmt::format("submit to seen placed by a watcher, at {:.0f} jobs a second", load.per_second);
  out.push_back(plain("steady.placed_p50", quantile(load.placed_ms, 0.5), "ms"));

  {
    std::vector<std::unique_ptr<PlacedWatch>> watchers;
    for (int i = 0; i < 100; ++i) {
      TUTTI_TRY(auto watch, PlacedWatch::open(*pool, ""));
      watchers.push_back(std::move(watch));
    }
    TUTTI_TRY(const Paced watched, submit_paced(*pool, "watched-", 200, span / 2, idle));
    int64_t least = INT64_MAX;
    for (const auto& watch : watchers) {
      TUTTI_CHECK(watch->still());
      least = std::min(least, watch->events());
    }
    out.push_back(plain("steady.watched_placed_p99", quantile(watched.placed_ms, 0.99), "ms"));
    out.back().note =
        fmt::format("200 jobs a second with 100 watchers, each of which has heard {} events or more", least);
  }

  const int64_t rows = options.quick ? 2'000 : 20'000;
  TUTTI_CHECK(pool->call(*client, "POST", "/v1/jobs", fake_job("listed", rows)));
  TUTTI_CHECK(wait_running(*pool, *client, "/v1/jobs/listed", rows, seconds(60)));
  std::vector<double> lists;
  std::string body;
  for (int i = 0; i < 9; ++i) {
    TUTTI_TRY(const double ms,
              list_ms(*pool, *client, fmt::format("/v1/instances?job=listed&limit={}", rows), rows, body));
    lists.push_back(ms);
  }
  out.push_back(options.quick ? plain("steady.list", quantile(lists, 0.5), "ms")
                              : below("steady.list", quantile(lists, 0.5), "ms", 50));
  out.back().note = fmt::format("{} instances, {:.1f} MB over TLS, the client on the same cores", rows,
                                static_cast<double>(body.size()) / 1e6);
  return out;
}

}  // namespace tutti::app::bench
