#pragma once
// Benches: what `tutti bench` measures. Each starts what it needs in a folder of its own, measures itself beside a peer
// in turns, takes it all away again, and gives figures. One thread; they need root for containers.

#include <atomic>
#include <boost/describe.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "cli/context.h"
#include "cli/session.h"
#include "net/http.h"

namespace tutti::app::bench {

struct Figure {
  std::string name;  // "start.p50"
  double value = 0;
  std::string unit;    // "ms", "1/s", "MiB", "x"
  std::string target;  // "< 30"; empty: none
  std::optional<bool> met;
  std::string peer;  // what stands beside it; empty: nothing
  std::optional<double> peer_value;
  std::string note;  // why there is no peer, how it was measured
};

struct Options {
  bool quick = false;  // few repetitions: to see that it works, not to quote
};

struct Bench {
  std::string name;
  std::string about;
  std::function<Result<std::vector<Figure>>(const Options&)> run;
};
const std::vector<Bench>& benches();

// In benches of their own files.
Result<std::vector<Figure>> bench_start(const Options& options);
Result<std::vector<Figure>> bench_many(const Options& options);
Result<std::vector<Figure>> bench_loss(const Options& options);
Result<std::vector<Figure>> bench_api(const Options& options);
Result<std::vector<Figure>> bench_submit(const Options& options);
Result<std::vector<Figure>> bench_memory(const Options& options);
Result<std::vector<Figure>> bench_state(const Options& options);
Result<std::vector<Figure>> bench_scheduler(const Options& options);
Result<std::vector<Figure>> bench_fleet(const Options& options);
Result<std::vector<Figure>> bench_steady(const Options& options);
Result<std::vector<Figure>> bench_gpu(const Options& options);

// A figure that is to be below (or above) a target.
Figure below(std::string name, double value, std::string unit, double target);
Figure above(std::string name, double value, std::string unit, double target);
Figure plain(std::string name, double value, std::string unit);
// The p-th part (0 to 1) of the sorted values, the nearest rank; 0 of none.
double quantile(std::vector<double> values, double p);
double seconds_since(BootTime start);
BootTime now();

// A whole pool of this executable's own, in a temporary folder; gone, with all it ran, when this is.
class Pool {
 public:
  // Ready when it returns: the nodes are, and the image "bench:1" (busybox) is there if there are any.
  static Result<std::unique_ptr<Pool>> start(int workers);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  const cli::Context& context() const { return context_; }
  const std::string& data() const { return data_; }
  Result<std::unique_ptr<net::Client>> client() const;
  net::Request request(const std::string& method, const std::string& path, const std::string& body = "") const;
  // 2xx, or the problem as an error.
  Result<cli::Json> call(net::Client& client, const std::string& method, const std::string& path,
                         const std::string& body = "") const;
  // The process of "manager", "worker-1" …; 0 if there is none.
  int process(const std::string& role) const;
  Status remove_job(net::Client& client, const std::string& name) const;

 private:
  Pool() = default;
  Status ready(int workers);
  Status import_image(net::Client& client);
  std::string data_;
  std::string log_;
  int pid_ = 0;
  cli::Context context_;
};

// Follows the pool's instances on a thread of its own: when each was first reported running.
class RunningWatch {
 public:
  explicit RunningWatch(const Pool& pool);
  ~RunningWatch();
  // Waits until `count` instances of the job have been running since this was made; the time of the last. timeout.
  Result<BootTime> wait(const std::string& job, size_t count, Duration timeout);
  // How many instances of the job have been seen running on each node.
  std::map<std::string, size_t> by_node(const std::string& job);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

// What the disk takes, on a thread of its own, 50 times a second, to make 4 KiB durable that are written over.
class DiskWatch {
 public:
  explicit DiskWatch(const std::string& directory);
  ~DiskWatch();
  std::vector<double> ms() const;  // of each so far

 private:
  void run(const std::string& path);
  mutable std::mutex mutex_;
  std::vector<double> ms_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// Bare crun with busybox, as a peer.
class BareCrun {
 public:
  // unavailable where crun or busybox is missing.
  static Result<std::unique_ptr<BareCrun>> make();
  ~BareCrun();
  // From the call to `crun run --detach` having returned: the container runs.
  Result<double> run_ms();
  // So many, `lanes` at a time.
  Result<double> run_many_ms(int count, int lanes);
  void clear();

 private:
  std::string bundle_;
  std::vector<std::string> ids_;
  int number_ = 0;
};

// A root file system of busybox alone.
Status make_rootfs(const std::string& directory);

}  // namespace tutti::app::bench
