#include "model/validate.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <set>

#include "base/limits.h"
#include "base/text.h"
#include "model/codec.h"
#include "model/constraint.h"
#include "model/oci.h"
#include "model/validate_health.h"
#include "model/validate_launch.h"

namespace tutti {
namespace {

constexpr size_t kTextLengthMax = 4'096;     // a path, a word of an argument list
constexpr size_t kEnvBytesMax = 128u << 10;  // all names and values: what execve takes is a multiple
constexpr size_t kListMax = 256;             // ports, volumes, constraints, capabilities of one task
constexpr int64_t kCpuMin = 10;              // millicores
constexpr int64_t kMemoryMin = 1 << 20;
constexpr Duration kDurationMax = seconds(366 * 24 * 3600);
constexpr std::array<std::string_view, 5> kDrivers{"container", "process", "fake", "docker", "vm"};

struct SignalName {
  std::string_view name;
  int number;
};
constexpr std::array<SignalName, 21> kSignals{
    {{"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ABRT", SIGABRT}, {"KILL", SIGKILL}, {"USR1", SIGUSR1},
     {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CHLD", SIGCHLD}, {"CONT", SIGCONT},
     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU}, {"URG", SIGURG},   {"WINCH", SIGWINCH},
     {"IO", SIGIO},     {"PWR", SIGPWR},   {"TRAP", SIGTRAP}}};

std::string quoted(std::string_view text) {
  return "\"" + std::string(text.substr(0, 80)) + "\"";
}

class Validator {
 public:
  explicit Validator(const JobSpec& spec) : spec_(spec) {}

  Status run() {
    lengths();
    if (errors_.empty()) contents();
    if (errors_.empty()) size();
    if (errors_.size() > kValidationErrorsMax) errors_.resize(kValidationErrorsMax);
    if (errors_.empty()) return {};
    return fail(ErrorCode::invalid, "job " + quoted(spec_.job) + " is not valid", std::move(errors_));
  }

 private:
  void wrong(std::string_view field, std::string message, std::string hint = {}) {
    if (errors_.size() < kValidationErrorsMax)
      errors_.push_back({at_ + std::string(field), std::move(message), std::move(hint)});
  }

  // Of the lists whose elements are compared with each other.
  void lengths() {
    if (spec_.tasks.size() > limits::kTasksPerJobMax)
      return wrong("tasks", "more than " + std::to_string(limits::kTasksPerJobMax) + " tasks (kTasksPerJobMax)");
    for (size_t i = 0; i < spec_.tasks.size(); ++i) {
      const TaskSpec& t = spec_.tasks[i];
      const std::string field = "tasks[" + std::to_string(i) + "].";
      if (t.ports.size() > kListMax) wrong(field + "ports", "more than " + std::to_string(kListMax));
      if (t.health.size() > limits::kHealthChecksMax)
        wrong(field + "health", "more than " + std::to_string(limits::kHealthChecksMax) + " checks (kHealthChecksMax)");
    }
  }
  void contents() {
    job();
    for (size_t i = 0; i < spec_.tasks.size(); ++i) {
      at_ = "tasks[" + std::to_string(i) + "].";
      task(spec_.tasks[i]);
    }
    at_ = "";
    groups();
    check_launch(spec_, errors_);
  }

  // Beside what a dispatch adds it must fit one message to a worker.
  void size() {
    const size_t bytes = to_json(spec_, {.omit_defaults = true}).size();
    if (bytes > limits::kSpecBytesMax)
      wrong("", std::to_string(bytes) + " bytes as JSON are too many",
            "at most " + std::to_string(limits::kSpecBytesMax) +
                " (kSpecBytesMax): put large files into the image or a volume");
  }

  void name(std::string_view field, std::string_view value) {
    if (is_name(value)) return;
    wrong(field, value.empty() ? "a name is needed" : "not a name: " + quoted(value),
          "lower-case letters, digits and '-' between them, at most " + std::to_string(limits::kNameLengthMax) +
              " (kNameLengthMax)");
  }

  template <class T>
  void range(std::string_view field, T value, T min, T max) {
    if (value >= min && value <= max) return;
    wrong(field, "out of range", "from " + number(min) + " to " + number(max));
  }
  static std::string number(int64_t v) { return std::to_string(v); }
  static std::string number(int32_t v) { return std::to_string(v); }
  static std::string number(double v) {
    std::string text = std::to_string(v);
    while (text.ends_with('0')) text.pop_back();
    if (text.ends_with('.')) text.pop_back();
    return text;
  }
  static std::string number(Duration v) { return format_duration(v); }

  void text(std::string_view field, std::string_view value) {
    if (value.find('\0') != std::string_view::npos) wrong(field, "holds a zero byte");
    if (value.size() > kTextLengthMax) wrong(field, "longer than " + std::to_string(kTextLengthMax) + " bytes");
  }
  void absolute(std::string_view field, std::string_view value) {
    text(field, value);
    if (!value.starts_with('/')) return wrong(field, "not an absolute path: " + quoted(value), "start it with /");
    for (const std::string& part : split(value, '/')) {
      if (part == "..") return wrong(field, "a path may not go up with ..: " + quoted(value), "write where it leads");
    }
  }

  void cpu(std::string_view field, Millicores value) {
    if (value.value == 0) return;
    if (value.value > 0 && value.value < kCpuMin) {
      std::string n = std::to_string(value.value);
      return wrong(field, "less than " + std::to_string(kCpuMin) + "m",
                   n + " means " + n + " millicores: write " + n + "c or " + n + "000m");
    }
    range<int64_t>(field, value.value, 0, limits::kMillicoresMax);
  }
  void size(std::string_view field, Bytes value) {
    if (value.value > 0 && value.value < kMemoryMin) {
      std::string n = std::to_string(value.value);
      return wrong(field, "less than 1Mi", n + " means " + n + " bytes: write " + n + "Mi");
    }
    range<int64_t>(field, value.value, 0, limits::kSizeBytesMax);
  }

  void job() {
    name("job", spec_.job);
    if (!spec_.project.empty()) name("project", spec_.project);
    range<int32_t>("priority", spec_.priority, 0, 100);
    range("pending_timeout", spec_.pending_timeout, Duration{}, kDurationMax);
    if (spec_.ttl) {
      range("ttl", *spec_.ttl, Duration{}, kDurationMax);
      if (spec_.type != JobType::batch)
        wrong("ttl", "only a batch job ends by itself: leave it out, or say type: batch");
    }
    update();
    if (spec_.labels.size() > limits::kLabelsMax) {
      wrong("labels", "more than " + std::to_string(limits::kLabelsMax) + " labels (kLabelsMax)");
    }
    for (const auto& [key, value] : spec_.labels) {
      if (key.empty() || key.size() > 128 || value.size() > 256)
        wrong("labels", "a label's key has 1 to 128 bytes, its value at most 256");
    }
    placement();
    if (spec_.tasks.empty()) wrong("tasks", "a job has at least one task");
    std::set<std::string_view> names;
    for (size_t i = 0; i < spec_.tasks.size(); ++i) {
      const std::string& task_name = spec_.tasks[i].name;
      if (!names.insert(task_name).second && !task_name.empty()) {
        wrong("tasks[" + std::to_string(i) + "].name", "two tasks are called " + quoted(task_name),
              "give each its own name");
      }
    }
  }

  void placement() {
    const PlacementSpec& p = spec_.placement;
    if (!p.node_pool.empty()) name("placement.node_pool", p.node_pool);
    if (p.affinities.size() > limits::kAffinitiesMax)
      wrong("placement.affinities", "more than " + std::to_string(limits::kAffinitiesMax) + " (kAffinitiesMax)");
    for (size_t i = 0; i < p.affinities.size() && i < limits::kAffinitiesMax; ++i) {
      const std::string field = "placement.affinities[" + std::to_string(i) + "]";
      auto parsed = Constraint::parse(p.affinities[i].constraint);
      if (!parsed) wrong(field + ".constraint", parsed.error().message, "write constraint: \"node.label.disk == ssd\"");
      range<int32_t>(field + ".weight", p.affinities[i].weight, -100, 100);
    }
    if (p.spread.size() > limits::kSpreadsMax)
      wrong("placement.spread", "more than " + std::to_string(limits::kSpreadsMax) + " (kSpreadsMax)");
    for (size_t i = 0; i < p.spread.size() && i < limits::kSpreadsMax; ++i)
      spread("placement.spread[" + std::to_string(i) + "]", p.spread[i]);
    together();
  }
  void spread(const std::string& field, const SpreadOver& over) {
    if (auto known = check_attribute_key(over.attribute); !known)
      wrong(field + ".attribute", known.error().message, "write attribute: node.label.zone");
    range<int32_t>(field + ".weight", over.weight, 1, 100);
    int64_t sum = 0;
    for (const auto& [value, percent] : over.targets) {
      range<int32_t>(field + ".targets." + value, percent, 0, 100);
      sum += percent;
    }
    if (over.targets.size() > limits::kLabelsMax)
      wrong(field + ".targets", "more than " + std::to_string(limits::kLabelsMax) + " (kLabelsMax)");
    if (sum > 100) wrong(field + ".targets", "more than 100 percent in all", "what is not named shares the rest");
  }
  // What is placed at once goes into one plan.
  void together() {
    const PlacementSpec& p = spec_.placement;
    if (!p.same_node && !p.all_or_nothing) return;
    const std::string field = p.same_node ? "placement.same_node" : "placement.all_or_nothing";
    if (spec_.type == JobType::system)
      return wrong(field, "a system job has an instance on every node", "leave it out");
    int64_t instances = 0;
    for (const GroupView& group : groups_of(spec_)) instances += std::clamp<int64_t>(group.count, 0, limits::kCountMax);
    if (instances > limits::kTogetherMax) {
      wrong(field, std::to_string(instances) + " instances at once",
            "at most " + std::to_string(limits::kTogetherMax) + " (kTogetherMax)");
    }
  }
  void update() {
    const UpdatePolicy& u = spec_.update;
    range<int32_t>("update.max_parallel", u.max_parallel, 1, static_cast<int32_t>(limits::kCountMax));
    range<int32_t>("update.canary", u.canary, 1, static_cast<int32_t>(limits::kCountMax));
    range("update.min_healthy_time", u.min_healthy_time, Duration{}, kDurationMax);
    range("update.healthy_deadline", u.healthy_deadline, Duration{}, kDurationMax);
    range("update.progress_deadline", u.progress_deadline, Duration{}, kDurationMax);
    range<int32_t>("disruption.max_unavailable", spec_.disruption.max_unavailable, 1,
                   static_cast<int32_t>(limits::kCountMax));
    if (u.healthy_deadline.ns > 0 && u.healthy_deadline <= u.min_healthy_time)
      wrong("update.healthy_deadline", "not more than update.min_healthy_time",
            "nothing could ever be healthy in time");
    if (u.progress_deadline.ns > 0 && u.progress_deadline <= u.min_healthy_time)
      wrong("update.progress_deadline", "not more than update.min_healthy_time",
            "nothing could ever be healthy in time");
    if (u.auto_promote && !wants_promotion(u))
      wrong("update.auto_promote", "there is nothing to promote", "strategy: canary or blue-green");
    if (spec_.type == JobType::batch && u != UpdatePolicy{})
      wrong("update", "a batch job's new version replaces the old one at once", "leave update out");
    if (spec_.type == JobType::system && (wants_promotion(u) || u.start_first))
      wrong("update.strategy", "a system job has one instance on a node, never two", "strategy: rolling or recreate");
  }

  void task(const TaskSpec& t) {
    name("name", t.name);
    if (!t.group.empty()) name("group", t.group);
    driver(t);
    if (spec_.type == JobType::system) {
      if (t.count != 1) wrong("count", "a system job runs one of each task on every node", "leave count out");
    } else {
      range<int64_t>("count", t.count, 0, limits::kCountMax);
    }
    resources(t);
    process(t);
    ports(t);
    volumes(t);
    policies(t);
    node_limits(t);
    devices(t);
    check_health(t, at_, errors_);
    if (t.constraints.size() > kListMax) wrong("constraints", "more than " + std::to_string(kListMax));
    for (size_t i = 0; i < t.constraints.size() && i < kListMax; ++i) {
      auto parsed = Constraint::parse(t.constraints[i]);
      if (!parsed)
        wrong("constraints[" + std::to_string(i) + "]", parsed.error().message, "write \"node.arch == x86_64\"");
    }
  }

  void node_limits(const TaskSpec& t) {
    if (t.node_limits.size() > limits::kLabelsMax)
      wrong("node_limits", "more than " + std::to_string(limits::kLabelsMax) + " (kLabelsMax)");
    for (const auto& [key, count] : t.node_limits) {
      name("node_limits", key);
      range<int64_t>("node_limits." + key, count, 1, limits::kNodeLimitMax);
    }
  }

  void devices(const TaskSpec& t) {
    if (t.gpu) {
      if (t.gpu->kind != "gpu") wrong("gpu.kind", "not gpu: " + quoted(t.gpu->kind), "other kinds stand under devices");
      device("gpu", *t.gpu);
    }
    if (t.devices.size() > limits::kDevicesMax)
      wrong("devices", "more than " + std::to_string(limits::kDevicesMax) + " (kDevicesMax)");
    for (size_t i = 0; i < t.devices.size() && i < limits::kDevicesMax; ++i)
      device("devices[" + std::to_string(i) + "]", t.devices[i]);
  }
  void device(const std::string& field, const DeviceSpec& d) {
    name(field + ".kind", d.kind);
    range<int64_t>(field + ".count", d.count, 1, static_cast<int64_t>(limits::kDevicesMax));
    range<int64_t>(field + ".share", d.share, 1, kWholeDevice);
    if (d.share < kWholeDevice && d.count != 1)
      wrong(field + ".share", "a share of more than one device", "leave count out, or take the devices whole");
    if (d.models.size() > kListMax) wrong(field + ".models", "more than " + std::to_string(kListMax));
    for (const std::string& model : d.models)
      if (model.empty()) wrong(field + ".models", "an empty model", "leave models out where any will do");
    size(field + ".memory", d.memory);
  }

  void driver(const TaskSpec& t) {
    if (std::ranges::find(kDrivers, t.driver) == kDrivers.end()) {
      std::string_view near = nearest_word(t.driver, {kDrivers.begin(), kDrivers.end()});
      std::string hint = near.empty() ? "" : "did you mean " + quoted(near) + "? ";
      return wrong("driver", "there is no driver " + quoted(t.driver),
                   hint + "one of container, process, docker, vm, fake");
    }
    bool image_needed = t.driver == "container" || t.driver == "docker" || t.driver == "vm";
    if (t.image.empty() && image_needed)
      return wrong("image", "a " + t.driver + " needs an image", "image: busybox:1.36");
    if (!t.image.empty()) {
      if (auto reference = oci::parse_reference(t.image); !reference) wrong("image", reference.error().message);
    }
    if (t.driver == "process" && t.command.empty())
      wrong("command", "a process needs a command", "command: [/usr/bin/env]");
    if (t.driver == "process" && !t.entrypoint.empty())
      wrong("entrypoint", "a process has no entrypoint", "put everything into command");
  }

  void resources(const TaskSpec& t) {
    cpu("resources.cpu", t.resources.cpu);
    size("resources.memory", t.resources.memory);
    size("resources.disk", t.resources.disk);
    cpu("limits.cpu", t.limits.cpu);
    size("limits.memory", t.limits.memory);
    if (t.limits.memory.value > 0 && t.limits.memory < t.resources.memory) {
      wrong("limits.memory", "less than resources.memory", "a limit is at least what is reserved");
    }
    if (t.limits.cpu.value > 0 && t.limits.cpu < t.resources.cpu) {
      wrong("limits.cpu", "less than resources.cpu", "a limit is at least what is reserved");
    }
    range<int64_t>("limits.pids", t.limits.pids, 0, 4'194'304);
    range<int64_t>("limits.open_files", t.limits.open_files, 0, 1'073'741'816);
    range<int64_t>("limits.io_read_per_second", t.limits.io_read_per_second.value, 0, limits::kSizeBytesMax);
    range<int64_t>("limits.io_write_per_second", t.limits.io_write_per_second.value, 0, limits::kSizeBytesMax);
    if (t.limits.cpuset.find_first_not_of("0123456789,-") != std::string::npos) {
      wrong("limits.cpuset", "not a set of cpus: " + quoted(t.limits.cpuset), "write 0-3,8");
    }
  }

  void process(const TaskSpec& t) {
    words("entrypoint", t.entrypoint);
    words("command", t.command);
    size_t bytes = 0;
    for (const auto& [key, value] : t.env) {
      bytes += key.size() + value.size() + 2;
      bool zero = key.find('\0') != std::string::npos || value.find('\0') != std::string::npos;
      if (key.empty() || key.find('=') != std::string::npos || zero) {
        wrong("env", "not a variable: " + quoted(key), "a name without '=', neither with zero bytes");
      }
    }
    if (bytes > kEnvBytesMax) wrong("env", "more than " + std::to_string(kEnvBytesMax) + " bytes in all");
    text("user", t.user);
    if (!t.workdir.empty()) absolute("workdir", t.workdir);
    if (auto signal = parse_signal(t.stop_signal); !signal)
      wrong("stop_signal", signal.error().message, "write TERM, INT, QUIT …");
    capabilities("security.cap_add", t.security.cap_add);
    capabilities("security.cap_drop", t.security.cap_drop);
    if (t.options.size() > kListMax) wrong("options", "more than " + std::to_string(kListMax));
  }
  void words(std::string_view field, const std::vector<std::string>& all) {
    size_t bytes = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      bytes += all[i].size() + 1;
      if (all[i].find('\0') != std::string::npos)
        wrong(std::string(field) + "[" + std::to_string(i) + "]", "holds a zero byte");
    }
    if (bytes > kEnvBytesMax) wrong(field, "more than " + std::to_string(kEnvBytesMax) + " bytes in all");
    if (!all.empty() && all[0].empty()) wrong(std::string(field) + "[0]", "the program's name is empty");
  }
  void capabilities(std::string_view field, const std::vector<std::string>& all) {
    if (all.size() > kListMax) return wrong(field, "more than " + std::to_string(kListMax));
    for (size_t i = 0; i < all.size(); ++i) {
      bool known_form = !all[i].empty() && all[i].find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == std::string::npos;
      if (!known_form)
        wrong(std::string(field) + "[" + std::to_string(i) + "]", "not a capability: " + quoted(all[i]),
              "write NET_ADMIN");
    }
  }

  void ports(const TaskSpec& t) {
    if (!t.ports.empty() && t.network == NetworkMode::none)
      wrong("ports", "a task without a network has no ports", "network: bridge");
    std::set<std::string> names;
    std::set<std::pair<int32_t, Protocol>> containers;
    for (size_t i = 0; i < t.ports.size(); ++i) {
      const PortSpec& port = t.ports[i];
      std::string field = "ports[" + std::to_string(i) + "]";
      range<int32_t>(field + ".container", port.container, 1, 65535);
      range<int32_t>(field + ".host", port.host, 0, 65535);
      if (!port.name.empty()) name(field + ".name", port.name);
      if (!port.name.empty() && !names.insert(port.name).second) {
        wrong(field + ".name", "two ports are called " + quoted(port.name), "give each its own name");
      }
      if (!containers.emplace(port.container, port.protocol).second) {
        wrong(field + ".container", "port " + std::to_string(port.container) + " is there twice");
      }
      if (port.host != 0 && t.network == NetworkMode::host && port.host != port.container) {
        wrong(field + ".host", "on the host's network the host port is the container port", "leave host out");
      }
    }
  }

  void volumes(const TaskSpec& t) {
    if (t.volumes.size() > kListMax) return wrong("volumes", "more than " + std::to_string(kListMax));
    std::set<std::string_view> targets;
    for (size_t i = 0; i < t.volumes.size(); ++i) {
      const VolumeMount& volume = t.volumes[i];
      std::string field = "volumes[" + std::to_string(i) + "]";
      absolute(field + ".target", volume.target);
      if (volume.target == "/") wrong(field + ".target", "nothing can be mounted over /");
      if (!targets.insert(volume.target).second) wrong(field + ".target", quoted(volume.target) + " is there twice");
      switch (volume.kind) {
        case VolumeKind::local: name(field + ".source", volume.source); break;
        case VolumeKind::host: absolute(field + ".source", volume.source); break;
        case VolumeKind::tmpfs:
          if (!volume.source.empty()) wrong(field + ".source", "a tmpfs has no source", "leave it out");
          break;
      }
      size(field + ".size", volume.size);
    }
  }

  void policies(const TaskSpec& t) {
    const RestartPolicy& r = t.restart;
    range<int32_t>("restart.attempts", r.attempts, 0, 1'000'000);
    range("restart.interval", r.interval, Duration{}, kDurationMax);
    range("restart.delay", r.delay, Duration{}, kDurationMax);
    range("restart.max_delay", r.max_delay, Duration{}, kDurationMax);
    range("restart.backoff", r.backoff, 1.0, 100.0);
    range("restart.jitter", r.jitter, 0.0, 1.0);
    if (r.max_delay < r.delay) wrong("restart.max_delay", "less than restart.delay");
    const ReschedulePolicy& s = t.reschedule;
    range<int32_t>("reschedule.attempts", s.attempts, -1, 1'000'000);
    range("reschedule.interval", s.interval, Duration{}, kDurationMax);
    range("reschedule.delay", s.delay, Duration{}, kDurationMax);
    range("reschedule.max_delay", s.max_delay, Duration{}, kDurationMax);
    range("reschedule.backoff", s.backoff, 1.0, 100.0);
    if (s.max_delay < s.delay) wrong("reschedule.max_delay", "less than reschedule.delay");
    range("stop_grace", t.stop_grace, Duration{}, seconds(3600));
    range("disconnect_grace", t.disconnect_grace, Duration{}, kDurationMax);
    if (r.policy == RestartMode::never && spec_.type == JobType::system) {
      wrong("restart.policy", "a system job is restarted", "always or on-failure");
    }
  }

  struct Group {
    const TaskSpec* first = nullptr;
    std::map<std::pair<int32_t, Protocol>, const TaskSpec*> ports;  // who has them
  };
  // Tasks of one group live in one network namespace and are counted together.
  void groups() {
    std::map<std::string_view, Group> seen;
    int64_t instances = 0;
    for (size_t i = 0; i < spec_.tasks.size(); ++i) {
      const TaskSpec& t = spec_.tasks[i];
      Group& group = seen[t.group.empty() ? t.name : t.group];
      at_ = "tasks[" + std::to_string(i) + "].";
      if (group.first != nullptr)
        member(t, *group.first);
      else
        instances += std::clamp<int64_t>(t.count, 0, limits::kCountMax);
      shared_ports(t, group);
      if (group.first == nullptr) group.first = &t;
    }
    at_ = "";
    if (instances > limits::kInstancesPerJobMax)
      wrong(
          "tasks", std::to_string(instances) + " instances in all",
          "at most " + std::to_string(limits::kInstancesPerJobMax) + " (kInstancesPerJobMax): make several jobs of it");
  }
  void member(const TaskSpec& t, const TaskSpec& first) {
    if (t.count != first.count) {
      wrong("count", "differs from that of task " + quoted(first.name) + " of the same group",
            "a group is counted as a whole: write " + std::to_string(first.count) + " or leave it out");
    }
    if (t.network != first.network) {
      wrong("network", "differs from that of task " + quoted(first.name) + " of the same group",
            "a group shares one network");
    }
  }
  void shared_ports(const TaskSpec& t, Group& group) {
    for (size_t i = 0; i < t.ports.size(); ++i) {
      const int32_t port = t.ports[i].container;
      const auto [has, fresh] = group.ports.try_emplace({port, t.ports[i].protocol}, &t);
      if (fresh || has->second == &t) continue;
      wrong("ports[" + std::to_string(i) + "].container",
            "port " + std::to_string(port) + " is taken by task " + quoted(has->second->name) + " of the same group");
    }
  }

  const JobSpec& spec_;
  std::string at_;
  std::vector<ErrorDetail> errors_;
};

void name_ports(TaskSpec& task) {
  for (PortSpec& port : task.ports) {
    if (!port.name.empty()) continue;
    std::string digits = std::to_string(port.container);
    bool taken = std::ranges::find(task.ports, digits, &PortSpec::name) != task.ports.end();
    port.name = taken ? digits + (port.protocol == Protocol::udp ? "-udp" : "-tcp") : digits;
  }
}

}  // namespace

Status validate(const JobSpec& spec) {
  return Validator(spec).run();
}

void apply_defaults(JobSpec& spec) {
  if (spec.tasks.size() > limits::kTasksPerJobMax) return;
  std::map<std::string, int64_t> counts;
  for (TaskSpec& task : spec.tasks) {
    if (!task.restart.policy) {
      task.restart.policy = spec.type == JobType::batch ? RestartMode::on_failure : RestartMode::always;
    }
    if (task.group.empty()) task.group = task.name;
    auto [row, first] = counts.try_emplace(task.group, task.count);
    if (!first && task.count == 1) task.count = row->second;
    if (task.ports.size() <= kListMax) name_ports(task);
    if (task.health.size() <= limits::kHealthChecksMax) name_checks(task);
    if (task.restart.max_delay < task.restart.delay && task.restart.max_delay == RestartPolicy{}.max_delay) {
      task.restart.max_delay = task.restart.delay;
    }
    if (task.reschedule.max_delay < task.reschedule.delay &&
        task.reschedule.max_delay == ReschedulePolicy{}.max_delay) {
      task.reschedule.max_delay = task.reschedule.delay;
    }
  }
}

Result<int> parse_signal(std::string_view text) {
  std::string_view name = text.starts_with("SIG") ? text.substr(3) : text;
  for (const SignalName& signal : kSignals) {
    if (signal.name == name) return signal.number;
  }
  int number = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!text.empty() && code == std::errc() && end == text.data() + text.size() && number >= 1 && number <= 64)
    return number;
  return fail(ErrorCode::invalid, "there is no signal " + quoted(text));
}

}  // namespace tutti
