#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "app/checked_settings.h"
#include "app/drivers.h"
#include "app/host.h"
#include "app/roles.h"
#include "base/log.h"
#include "base/version.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "worker/gpus.h"
#include "worker/worker.h"

namespace tutti::app {

std::vector<Setting> worker_settings() {
  return with_log_settings(
      {{"data", "/var/lib/tutti-worker", "where disks, images and the node's identity are kept"},
       {"run", "", "where what runs is recorded, in /run; empty: from the data directory"},
       {"manager", "", "host:port of the manager's API, for the first join"},
       {"worker-address", "", "host:port that workers dial; empty: what the manager said at the join"},
       {"token", "", "join token, for the first join ('tutti node token')"},
       {"name", "", "the node's name; empty: the manager chooses"},
       {"address", "", "address that others reach this node at; empty: found out"},
       {"reserve-cpu", "", "kept for the system: 500m, 1c"},
       {"reserve-memory", "", "kept for the system: 512Mi"},
       {"cpu", "", "given out at most, instead of what the machine has"},
       {"memory", "", "given out at most, instead of what the machine has"},
       {"port-first", "20000", "first host port that the scheduler may give out"},
       {"port-last", "31999", "last one"},
       {"node-limits", "", "countable things that tasks ask for with node_limits: licence=2,encoder=1"},
       {"devices", "",
        "devices instead of those found: kind:model:memory*count, as gpu:T4:16Gi*2,gpu:A100:80Gi; none: has none"},
       {"threads", "4", "operations at a time"},
       {"container-runtime", "", "crun or runc; empty: crun, or runc where crun is missing or does not answer"},
       {"purge", "false", "end everything of this worker, take away what is left of it, and exit"}});
}

namespace {

Result<worker::FingerprintOptions> fingerprint_options(const Settings& settings) {
  worker::FingerprintOptions out;
  out.data_dir = settings.get("data");
  out.version = program_version();
  if (!settings.get("address").empty()) out.addresses = {settings.get("address")};
  TUTTI_TRY(out.reserved.cpu, cpu_setting(settings, "reserve-cpu", 0));
  TUTTI_TRY(out.capacity.cpu, cpu_setting(settings, "cpu", 1));
  TUTTI_TRY(out.reserved.memory, memory_setting(settings, "reserve-memory", 0));
  TUTTI_TRY(out.capacity.memory, memory_setting(settings, "memory", 1));
  TUTTI_TRY(const int64_t first, settings.number("port-first", 1, 65535));
  TUTTI_TRY(const int64_t last, settings.number("port-last", first, 65535));
  out.port_first = static_cast<int32_t>(first);
  out.port_last = static_cast<int32_t>(last);
  TUTTI_TRY(out.limits, node_limits_setting(settings));
  if (!settings.get("devices").empty()) {
    TUTTI_TRY(out.devices, worker::parse_devices(settings.get("devices")));
  }
  return out;
}

Result<worker::NodeIdentity> identity_of(const Settings& settings) {
  const std::string& data = settings.get("data");
  auto present = worker::load_identity(data);
  if (present) return present;
  if (present.error().code != ErrorCode::not_found) return present;
  if (settings.get("manager").empty() || settings.get("token").empty()) {
    return fail(ErrorCode::invalid,
                "this node has not joined a pool yet: say --manager HOST:PORT and --token TOKEN ('tutti node token' "
                "makes one)");
  }
  return worker::join(data, settings.get("manager"), settings.get("token"), settings.get("name"));
}

int purge(const std::string& data, const std::string& run, driver::Registry& drivers) {
  const std::string pool = sys::read_file(data + "/identity/pool").value_or("");
  const std::string subnet = sys::read_file(data + "/identity/subnet").value_or("");
  auto identity = worker::load_identity(data);
  const std::string name = identity ? identity->name : "";
  NodeHost host(data, run);
  {
    worker::Executor executor({data, run, "tutti-" + pool + "/" + name, name}, drivers, {}, 1);
    executor.sweep({});
  }
  if (auto groups = sys::Cgroups::detect(); groups && !pool.empty()) {
    (void)(*groups)->remove("tutti-" + pool + "/" + name, seconds(2));
    for (const std::string& folder : (*groups)->folders("tutti-" + pool))
      ::rmdir(folder.c_str());  // when we were the last
  }
  if (!subnet.empty()) host.remove_everything(pool, name, subnet);
  if (Status removed = sys::remove_tree(run); !removed) return complain(removed.error());
  return 0;
}

}  // namespace

int run_worker(const std::vector<std::string>& arguments) {
  Settings settings(worker_settings());
  if (Status loaded = settings.load(arguments); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf(
        "Example: tutti worker --manager pool.example:7171 --token TOKEN\n\nThe worker of a node: runs what the "
        "manager assigns.\n\n%s",
        settings.help_text().c_str());
    return 0;
  }
  block_signals();
  if (Status right = check_log_settings(settings); !right) return complain(right.error());
  configure_log(settings, "worker");
  if (Status known = check_runtime_setting(settings); !known) return complain(known.error());
  worker::WorkerOptions options;
  options.data_dir = settings.get("data");
  options.run_dir = settings.get("run").empty() ? default_run_dir(options.data_dir) : settings.get("run");
  for (const std::string& dir : {options.data_dir, options.run_dir}) {
    if (Status made = sys::make_dirs(dir, 0711); !made) return complain(made.error());
  }
  driver::Registry drivers;
  if (Status added = add_drivers(drivers, options.data_dir, options.run_dir, settings.get("container-runtime")); !added)
    return complain(added.error());
  if (settings.flag("purge")) return purge(options.data_dir, options.run_dir, drivers);
  auto fingerprint = fingerprint_options(settings);
  if (!fingerprint) return complain(fingerprint.error());
  options.fingerprint = std::move(*fingerprint);
  auto threads = settings.number("threads", 1, 64);
  if (!threads) return complain(threads.error());
  options.threads = static_cast<int>(*threads);
  auto identity = identity_of(settings);
  if (!identity) return complain(identity.error());
  if (!settings.get("worker-address").empty()) identity->worker_address = settings.get("worker-address");
  NodeHost host(options.data_dir, options.run_dir);
  log_info("starting", {{"node", identity->name}, {"manager", identity->worker_address}});
  auto worker = worker::Worker::start(std::move(options), std::move(*identity), drivers, host);
  if (!worker) return complain(worker.error());
  while (wait_for_signal(500) == 0) {
    if (!(*worker)->refused().empty()) {
      std::fprintf(stderr, "tutti: the pool does not want this node: %s\n", (*worker)->refused().c_str());
      std::_Exit(1);
    }
  }
  log_info("stopping; what runs goes on");
  // Drivers' threads may still tell of ends; the process goes at once, and the next one finds everything again.
  std::_Exit(0);
}

}  // namespace tutti::app
