#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "app/checked_settings.h"
#include "app/credentials.h"
#include "app/roles.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "manager/manager.h"
#include "store/sqlite/sqlite_store.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::app {

int complain(const Error& error) {
  std::fprintf(stderr, "tutti: %s\n", error.message.c_str());
  for (const ErrorDetail& detail : error.details) {
    std::fprintf(stderr, "  %s%s%s%s%s\n", detail.path.c_str(), detail.path.empty() ? "" : ": ", detail.message.c_str(),
                 detail.hint.empty() ? "" : ": ", detail.hint.c_str());
  }
  return error.code == ErrorCode::invalid ? 2 : 1;
}

void block_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGCHLD);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

int wait_for_signal(int timeout_ms) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  timespec timeout{timeout_ms / 1000, (timeout_ms % 1000) * 1'000'000L};
  const int got = ::sigtimedwait(&set, nullptr, &timeout);
  return got > 0 ? got : 0;
}

std::string default_run_dir(const std::string& data_dir) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(fnv1a(data_dir)));
  return std::string("/run/tutti/") + text;
}

std::vector<Setting> manager_settings() {
  return with_log_settings(
      {{"data", "/var/lib/tutti", "where state, catalog and keys are kept"},
       {"name", "tutti", "the pool's name"},
       {"listen", "127.0.0.1", "address of the API"},
       {"api-port", "7171", "port of the API; 0: any"},
       {"worker-listen", "127.0.0.1", "address that workers dial"},
       {"worker-port", "7172", "port that workers dial; 0: any"},
       {"names", "", "further host names and addresses of the certificate, comma separated; the first is advertised"},
       {"network", "", "prefix that node subnets are cut from, like 10.86.0.0/16; empty: chosen at the first start"},
       {"insecure-registries", "", "registries fetched from without verified TLS, comma separated"},
       {"ready-file", "", "written when the manager serves: its ports, for scripts"}});
}

std::vector<Setting> with_log_settings(std::vector<Setting> own) {
  own.push_back({"log-level", "info", "debug, info, warning or error"});
  own.push_back({"log-format", "text", "text or json"});
  return own;
}

void configure_log(const Settings& settings, const std::string& component) {
  const std::string& level = settings.get("log-level");
  configure_logging(level == "debug"     ? LogLevel::debug
                    : level == "warning" ? LogLevel::warning
                    : level == "error"   ? LogLevel::error
                                         : LogLevel::info,
                    settings.get("log-format") == "json" ? LogFormat::json : LogFormat::text, component);
}

static std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  for (std::string& part : split(text, ',')) {
    if (!trim(part).empty()) out.emplace_back(trim(part));
  }
  return out;
}

// Two ports share what the process may have; sockets of strangers must not take what the store and the streams need.
// Three in four are the workers', who each hold one for good.
static Status share_connections(manager::ManagerOptions& options) {
  TUTTI_TRY(const uint64_t descriptors, sys::raise_descriptor_limit());
  const uint64_t free = descriptors - std::min<uint64_t>(descriptors, limits::kDescriptorsReserved);
  options.api_connections_max = std::min<uint64_t>(free / 4, limits::kConnectionsMax);
  options.worker_connections_max = std::min<uint64_t>(free / 4 * 3, limits::kConnectionsMax);
  if (options.api_connections_max < 64) {
    return fail(ErrorCode::unavailable,
                "a process here may have " + std::to_string(descriptors) +
                    " open files, too few for a manager: raise the limit (ulimit -Hn, LimitNOFILE=) to 1024 at least");
  }
  return {};
}

static Result<std::unique_ptr<manager::Manager>> open_manager(const Settings& settings, const std::string& data) {
  manager::ManagerOptions options;
  SystemClock clock;
  options.pool_name = settings.get("name");
  TUTTI_TRY(options.authority, load_authority(data, options.pool_name, clock.now()));
  options.catalog_dir = data + "/catalog";
  options.listen = settings.get("listen");
  options.worker_listen = settings.get("worker-listen");
  TUTTI_TRY(const int64_t api_port, settings.number("api-port", 0, 65535));
  TUTTI_TRY(const int64_t worker_port, settings.number("worker-port", 0, 65535));
  options.api_port = static_cast<uint16_t>(api_port);
  options.worker_port = static_cast<uint16_t>(worker_port);
  options.names = words(settings.get("names"));
  TUTTI_TRY(options.network, network_setting(settings));
  options.insecure_registries = words(settings.get("insecure-registries"));
  TUTTI_CHECK(share_connections(options));
  return manager::Manager::open(std::move(options), store::make_sqlite_store(data + "/state.db"),
                                std::make_unique<BootstrapFile>(data));
}

int run_manager(const std::vector<std::string>& arguments) {
  Settings settings(manager_settings());
  if (Status loaded = settings.load(arguments); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf(
        "Example: tutti manager --data /var/lib/tutti --listen 0.0.0.0 --worker-listen 0.0.0.0 --names "
        "pool.example\n\nThe manager of a pool: state, API, scheduler.\n\n%s",
        settings.help_text().c_str());
    return 0;
  }
  ::umask(0077);  // what is stored is nobody else's, whatever the folder's own mode says
  block_signals();
  if (Status right = check_log_settings(settings); !right) return complain(right.error());
  configure_log(settings, "manager");
  const std::string data = settings.get("data");
  auto manager = open_manager(settings, data);
  if (!manager) return complain(manager.error());
  log_info("serving", {{"api", std::to_string((*manager)->api_port())},
                       {"workers", std::to_string((*manager)->worker_port())},
                       {"data", data}});
  if (BootstrapFile(data).exists())
    log_info("no admin has logged in yet", {{"credential", data + "/bootstrap-credential"}});
  if (const std::string& file = settings.get("ready-file"); !file.empty()) {
    const std::string ports =
        std::to_string((*manager)->api_port()) + " " + std::to_string((*manager)->worker_port()) + "\n";
    if (Status written = sys::write_file_atomic(file, ports); !written) return complain(written.error());
  }
  while (wait_for_signal(500) == 0) {
    if ((*manager)->failed()) {
      log_error("the state cannot be served on: stopping, so that a new start reads what is stored");
      std::_Exit(1);
    }
  }
  log_info("stopping");
  manager->reset();
  return 0;
}

}  // namespace tutti::app
