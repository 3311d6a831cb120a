#include "cli/run_spec.h"

#include "base/text.h"
#include "model/values.h"

namespace tutti::cli {
namespace {

std::string option(const Invocation& call, const std::string& name, const std::string& fallback = "") {
  const auto at = call.options.find(name);
  return at == call.options.end() ? fallback : at->second;
}
bool flag(const Invocation& call, const std::string& name) {
  return option(call, name) == "true";
}

// 1..65535; 0 when it is no port.
int32_t port_number(const std::string& text) {
  if (text.empty() || text.size() > 5 || text.find_first_not_of("0123456789") != std::string::npos) return 0;
  const int number = std::stoi(text);
  return number <= 65535 ? number : 0;
}

Result<NetworkMode> network_of(const std::string& text) {
  if (text == "bridge") return NetworkMode::bridge;
  if (text == "host") return NetworkMode::host;
  if (text == "none") return NetworkMode::none;
  return fail(ErrorCode::invalid, "--network: bridge, host or none, not '" + text + "'");
}

}  // namespace

Result<PortSpec> parse_port(const std::string& text) {
  const auto wrong = [&] {
    return fail(ErrorCode::invalid, "-p: '" + text +
                                        "' is not a port: write 8080:80 (host:container), 80 (any free one of the "
                                        "host), and /udp behind it where it is not tcp");
  };
  PortSpec out;
  std::string numbers = text;
  if (const size_t slash = text.find('/'); slash != std::string::npos) {
    const std::string protocol = text.substr(slash + 1);
    if (protocol != "tcp" && protocol != "udp") return wrong();
    if (protocol == "udp") out.protocol = Protocol::udp;
    numbers.resize(slash);
  }
  const size_t colon = numbers.find(':');
  out.container = port_number(colon == std::string::npos ? numbers : numbers.substr(colon + 1));
  if (colon != std::string::npos) out.host = port_number(numbers.substr(0, colon));
  if (out.container == 0 || (colon != std::string::npos && out.host == 0)) return wrong();
  return out;
}

Result<VolumeMount> parse_volume(const std::string& text) {
  const std::vector<std::string> parts = split(text, ':');
  const bool mode = parts.size() == 3 && (parts[2] == "ro" || parts[2] == "rw");
  if ((parts.size() != 2 && !mode) || parts[0].empty() || !parts[1].starts_with('/'))
    return fail(ErrorCode::invalid, "-v: '" + text +
                                        "' is not a volume: write NAME:/path or /folder/of/the/node:/path, and :ro "
                                        "behind it where it is not to be written");
  VolumeMount out;
  out.kind = parts[0].starts_with('/') ? VolumeKind::host : VolumeKind::local;
  out.source = parts[0];
  out.target = parts[1];
  out.read_only = mode && parts[2] == "ro";
  return out;
}

Result<std::map<std::string, std::string>> environment_of(const Invocation& call, const Environment& ours) {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : call.repeated) {
    if (key != "env") continue;
    const size_t equals = value.find('=');
    if (equals == 0 || value.empty()) return fail(ErrorCode::invalid, "-e: '" + value + "' is not KEY=VALUE");
    if (equals != std::string::npos)
      out[value.substr(0, equals)] = value.substr(equals + 1);
    else if (const char* own = ours(value.c_str()))
      out[value] = own;
  }
  return out;
}

Result<JobSpec> run_spec(const Invocation& call, const std::string& name, const Environment& ours) {
  TaskSpec task;
  task.driver = option(call, "driver", "container");
  if (call.words.empty() && task.driver != "process")
    return fail(ErrorCode::invalid, "say which image; usage: " + usage_line(*call.usage));
  JobSpec job;
  job.job = option(call, "name", name);
  job.type = flag(call, "detach") && flag(call, "service") ? JobType::service : JobType::batch;
  if (flag(call, "service") && !flag(call, "detach"))
    return fail(ErrorCode::invalid, "--service runs for ever: say -d too");
  if (flag(call, "rm") && job.type == JobType::service)
    return fail(ErrorCode::invalid, "--rm removes what has ended, and a --service does not end");
  if (flag(call, "rm")) job.ttl = flag(call, "detach") ? Duration{} : kAttachedTtl;
  task.name = job.job;
  if (!call.words.empty()) task.image = call.words[0];
  task.command = call.command;
  task.user = option(call, "user");
  task.workdir = option(call, "workdir");
  task.tty = flag(call, "tty");
  task.stdin_open = flag(call, "interactive");
  TUTTI_TRY(task.env, environment_of(call, ours));
  TUTTI_TRY(task.network, network_of(option(call, "network", "bridge")));
  TUTTI_TRY(task.resources.cpu, parse_millicores(cpu_text(option(call, "cpus", "100m"))));
  TUTTI_TRY(task.resources.memory, parse_bytes(memory_text(option(call, "memory", "64Mi"))));
  for (const auto& [key, value] : call.repeated) {
    if (key == "publish") {
      TUTTI_TRY(PortSpec port, parse_port(value));
      task.ports.push_back(std::move(port));
    } else if (key == "volume") {
      TUTTI_TRY(VolumeMount mount, parse_volume(value));
      task.volumes.push_back(std::move(mount));
    }
  }
  task.restart.policy = job.type == JobType::service ? std::optional<RestartMode>() : RestartMode::never;
  if (job.type == JobType::batch) task.reschedule.attempts = 0;
  job.tasks.push_back(std::move(task));
  return job;
}

}  // namespace tutti::cli
