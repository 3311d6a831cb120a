// The manager: requests, durable submits, memory.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <thread>

#include "app/bench/bench.h"
#include "sys/file.h"

namespace tutti::app::bench {
namespace {

struct Load {
  double per_second = 0;
  std::vector<double> ms;  // of every request
};

// So many connections, each with one request under way, for so long. `make` gives the request of (connection, n).
template <class Make>
Result<Load> drive(const Pool& pool, int connections, double for_seconds, Make make) {
  std::mutex mutex;
  Load out;
  std::optional<Error> problem;
  const BootTime start = now();
  std::vector<std::thread> threads;
  for (int c = 0; c < connections; ++c) {
    threads.emplace_back([&, c] {
      std::vector<double> mine;
      auto client = pool.client();
      for (int n = 0; client && seconds_since(start) < for_seconds; ++n) {
        const BootTime asked = now();
        auto answer = (*client)->call(make(c, n), seconds(30));
        mine.push_back(seconds_since(asked) * 1e3);
        if (answer && answer->status < 300) continue;
        std::lock_guard lock(mutex);
        problem = answer ? cli::problem_of(*answer) : answer.error();
        return;
      }
      std::lock_guard lock(mutex);
      out.ms.insert(out.ms.end(), mine.begin(), mine.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (problem) return tl::make_unexpected(*problem);
  out.per_second = static_cast<double>(out.ms.size()) / seconds_since(start);
  return out;
}

std::string idle_job(const std::string& name) {
  return R"({"job":")" + name + R"(","tasks":[{"name":"main","driver":"process","command":["true"],"count":0}]})";
}

// Bytes written and synced one after the other in the same folder: what the disk takes at most without grouping.
double bare_syncs_per_second(const std::string& folder, double for_seconds) {
  const std::string path = folder + "/bare";
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  const std::string page(4096, 'x');
  const BootTime start = now();
  int count = 0;
  for (; seconds_since(start) < for_seconds; ++count) {
    if (::pwrite(fd, page.data(), page.size(), static_cast<off_t>(count) * 4096) < 0 || ::fdatasync(fd) != 0) break;
  }
  const double took = seconds_since(start);
  ::close(fd);
  ::unlink(path.c_str());
  return count / took;
}

// Of /proc/<pid>/smaps_rollup, in MiB.
double memory_mib(int pid, const std::string& field) {
  const std::string text = sys::read_file("/proc/" + std::to_string(pid) + "/smaps_rollup").value_or("");
  const size_t at = text.find("\n" + field + ":");
  return at == std::string::npos ? 0 : std::atof(text.c_str() + at + field.size() + 2) / 1024;
}

}  // namespace

Result<std::vector<Figure>> bench_api(const Options& options) {
  TUTTI_TRY(auto pool, Pool::start(0));
  TUTTI_TRY(auto client, pool->client());
  for (int i = 0; i < 100; ++i)
    TUTTI_CHECK(pool->call(*client, "POST", "/v1/jobs", idle_job("job-" + std::to_string(i))));
  const double span = options.quick ? 0.5 : 5;
  TUTTI_TRY(const Load one, drive(*pool, 8, span, [&](int, int) { return pool->request("GET", "/v1/jobs/job-7"); }));
  TUTTI_TRY(const Load list,
            drive(*pool, 8, span, [&](int, int) { return pool->request("GET", "/v1/jobs?limit=100"); }));
  Figure requests = plain("api.requests", one.per_second, "1/s");
  requests.note = "GET of one job, 8 connections, the client on the same cores";
  Figure lists = plain("api.lists_of_100", list.per_second, "1/s");
  return std::vector<Figure>{requests, plain("api.p50", quantile(one.ms, 0.5), "ms"),
                             plain("api.p99", quantile(one.ms, 0.99), "ms"), lists,
                             plain("api.list_p99", quantile(list.ms, 0.99), "ms")};
}

Result<std::vector<Figure>> bench_submit(const Options& options) {
  TUTTI_TRY(auto pool, Pool::start(0));
  const double span = options.quick ? 0.5 : 5;
  const double bare = bare_syncs_per_second(std::filesystem::path(pool->data()).parent_path(), span / 2);
  TUTTI_TRY(const Load load, drive(*pool, 32, span, [&](int c, int n) {
              return pool->request("POST", "/v1/jobs", idle_job("job-" + std::to_string(c) + "-" + std::to_string(n)));
            }));
  Figure f = plain("submit.durable", load.per_second, "1/s");
  f.peer = "write and fdatasync of 4 KiB, one at a time";
  f.peer_value = bare;
  f.note = "32 connections; every answer comes after its commit is on disk";
  return std::vector<Figure>{f, plain("submit.p50", quantile(load.ms, 0.5), "ms"),
                             plain("submit.p99", quantile(load.ms, 0.99), "ms")};
}

Result<std::vector<Figure>> bench_memory(const Options& options) {
  TUTTI_TRY(auto pool, Pool::start(1));
  std::this_thread::sleep_for(std::chrono::seconds(options.quick ? 1 : 5));  // what starting took is given back
  std::vector<Figure> out;
  for (const auto& [role, target] : {std::pair{"manager", 30.0}, std::pair{"worker-1", 15.0}}) {
    const int pid = pool->process(role);
    if (pid == 0) return fail(ErrorCode::unavailable, std::string(role) + " does not run");
    Figure f = below(std::string("memory.") + (role == std::string("manager") ? role : "worker"),
                     memory_mib(pid, "Rss"), "MiB", target);
    f.note = fmt::format("resident; its own alone {:.1f} MiB (the executable's pages are shared)",
                         memory_mib(pid, "Pss_Anon"));
    out.push_back(std::move(f));
  }
  return out;
}

}  // namespace tutti::app::bench
