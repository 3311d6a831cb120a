// The state alone: what a pool of 2,000,000 instances costs, and whether a change costs the same as in a small one.
#include <malloc.h>

#include <filesystem>

#include "app/bench/bench.h"
#include "base/limits.h"
#include "state/engine.h"
#include "store/sqlite/sqlite_store.h"
#include "sys/file.h"

namespace tutti::app::bench {
namespace {

double resident_mib() {
  ::malloc_trim(0);
  const std::string text = sys::read_file("/proc/self/status").value_or("");
  const size_t at = text.find("VmRSS:");
  return at == std::string::npos ? 0 : std::atof(text.c_str() + at + 6) / 1024;
}

double thread_us() {
  timespec at = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
  return static_cast<double>(at.tv_sec) * 1e6 + static_cast<double>(at.tv_nsec) / 1e3;
}

// An engine over SQLite in a folder of its own, driven on this thread.
struct Bank {
  std::string folder;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<state::Engine> engine;
  ProjectId project;

  Status open() {
    store = store::make_sqlite_store(folder + "/state.db");
    engine = state::make_engine(*store);
    return engine->open(SystemClock().now());
  }
  Result<state::Outcome> run(state::Command command) {
    std::optional<Result<state::Outcome>> out;
    engine->submit(std::move(command), {}, [&](Result<state::Outcome> result) { out = std::move(result); });
    while (!out) TUTTI_CHECK(engine->step(SystemClock().now()));
    return std::move(*out);
  }
  Status checkpoint_if_due() { return engine->checkpoint_due() ? engine->checkpoint(SystemClock().now()) : Status{}; }

  Status fill(int64_t instances) {
    ::tutti::Pool pool;
    pool.pool_id = "abcdef";
    pool.network = "10.86.0.0/16";
    TUTTI_CHECK(run(state::InitializePool{pool}));
    engine->snapshot()->projects.for_each([&](uint64_t id, const Project&) { project = ProjectId{id}; });
    for (int64_t made = 0; made < instances;) {
      const int64_t count = std::min<int64_t>(10'000, instances - made);
      JobSpec spec;
      spec.job = "job-" + std::to_string(made);
      spec.tasks.resize(1);
      spec.tasks[0].name = "main";
      spec.tasks[0].driver = "process";
      spec.tasks[0].command = {"true"};
      spec.tasks[0].count = count;
      TUTTI_TRY(const state::Outcome job, run(state::SubmitJob{spec, project, {}, {}}));
      for (int64_t slot = 0; slot < count;) {
        Actions actions;
        for (size_t i = 0; i < limits::kCommandRowsMax / 2 && slot < count; ++i, ++slot)
          actions.create.push_back(
              {.job = JobId{job.id}, .job_version = 1, .group = 0, .slot = static_cast<uint32_t>(slot)});
        TUTTI_CHECK(run(state::ApplyActions{std::move(actions)}));
      }
      made += count;
      TUTTI_CHECK(checkpoint_if_due());
    }
    return {};
  }

  // Microseconds of this thread for one change of one instance and its commit; waiting for the disk does not count.
  Result<double> change_us(int rounds) {
    uint64_t id = 0;
    engine->snapshot()->instances.for_each([&](uint64_t each, const Instance&) { id = id == 0 ? each : id; });
    std::vector<double> took;
    for (int i = 0; i < rounds; ++i) {
      const auto verb = i % 2 == 0 ? state::InstanceVerb::stop : state::InstanceVerb::start;
      const double start = thread_us();
      TUTTI_CHECK(run(state::OperateInstance{InstanceId{id}, verb}));
      took.push_back(thread_us() - start);
      TUTTI_CHECK(checkpoint_if_due());
    }
    return quantile(took, 0.5);
  }
};

Result<Bank> make_bank(const std::string& folder, int64_t instances) {
  Bank bank;
  bank.folder = folder;
  TUTTI_CHECK(sys::make_dirs(folder, 0700));
  TUTTI_CHECK(bank.open());
  TUTTI_CHECK(bank.fill(instances));
  return bank;
}

Result<std::vector<Figure>> measure(const std::string& folder, const Options& options) {
  const int64_t many = options.quick ? 20'000 : 2'000'000;
  TUTTI_TRY(Bank small, make_bank(folder + "/small", 100));
  const double before = resident_mib();
  const BootTime start = now();
  TUTTI_TRY(Bank large, make_bank(folder + "/large", many));
  const double filled = seconds_since(start);
  const double bytes = (resident_mib() - before) * 1048576 / static_cast<double>(many);
  const int rounds = options.quick ? 50 : 400;
  TUTTI_TRY(const double small_us, small.change_us(rounds));
  TUTTI_TRY(const double large_us, large.change_us(rounds));
  TUTTI_CHECK(large.engine->checkpoint(SystemClock().now()));
  large.engine.reset();
  large.store.reset();
  const BootTime reload = now();
  TUTTI_CHECK(large.open());
  const double loaded = seconds_since(reload);
  if (large.engine->snapshot()->instances.size() != static_cast<size_t>(many))
    return fail(ErrorCode::internal, "rows were lost");
  Figure made = plain("state.creates", static_cast<double>(many) / filled, "1/s");
  made.note = std::to_string(many) + " instances, durable";
  Figure change = plain("state.change", large_us, "us");
  change.peer = "the same with 100 instances";
  change.peer_value = small_us;
  change.note = "one command with its commit, processor time";
  return std::vector<Figure>{made, plain("state.memory_per_instance", bytes, "B"), change,
                             below("state.change_ratio", large_us / small_us, "x", 1.5),
                             plain("state.reload", loaded, "s")};
}

}  // namespace

Result<std::vector<Figure>> bench_state(const Options& options) {
  std::string folder = std::filesystem::temp_directory_path() / "tutti-state-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return fail(ErrorCode::io, "no temporary folder " + folder);
  auto out = measure(folder, options);
  (void)sys::remove_tree(folder);
  return out;
}

}  // namespace tutti::app::bench
