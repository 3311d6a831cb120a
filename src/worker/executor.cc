#include "worker/executor.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/log.h"
#include "net/http.h"
#include "sys/file.h"

namespace tutti::worker {
namespace {

constexpr size_t kThreadsMax = 128;  // those that only stop tasks included
// What is swept away has such a name beside what is in use, until a thread of the pool has removed it.
constexpr const char* kAside = ".swept.";

driver::Failure failure_of(const Error& error, driver::FailureKind kind = driver::FailureKind::retryable) {
  return {kind, error};
}

std::optional<driver::Failure> failure_of(driver::DriverStatus status) {
  if (status) return std::nullopt;
  return std::move(status).error();
}

std::vector<std::string> entries_of(const std::string& path) {
  std::vector<std::string> out;
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") out.push_back(name);
  }
  ::closedir(dir);
  return out;
}

// The ids that a program opens; NVIDIA's libraries and runtime hook read their own name for those of kind gpu.
void add_devices(std::map<std::string, std::string>& env, const Assignment& a, const TaskSpec& task) {
  std::string all, gpus;
  for (const DeviceBinding& b : a.devices) {
    if (b.task != task.name) continue;
    all += (all.empty() ? "" : ",") + b.device;
    if (b.kind == "gpu") gpus += (gpus.empty() ? "" : ",") + b.device;
    if (b.share < kWholeDevice) env["TUTTI_DEVICE_SHARE"] = std::to_string(b.share);
  }
  if (!all.empty()) env["TUTTI_DEVICES"] = all;
  if (!gpus.empty()) env["NVIDIA_VISIBLE_DEVICES"] = gpus;
}

// Where a container finds the payload of its job.
constexpr const char* kPayloadTarget = "/tutti/payload";
// And a process: over an empty file there, in its own mounts alone. Nobody else on the node sees it.
constexpr const char* kPayloadInRun = "/payload";

std::map<std::string, std::string> environment(const Assignment& a, const TaskSpec& task,
                                               const std::map<std::string, std::string>& meta,
                                               const std::string& node) {
  std::map<std::string, std::string> out{
      {"TUTTI_INSTANCE", a.name}, {"TUTTI_INSTANCE_ID", to_text(a.instance)}, {"TUTTI_JOB", a.job_name},
      {"TUTTI_TASK", task.name},  {"TUTTI_SLOT", std::to_string(a.slot)},     {"TUTTI_NODE", node}};
  for (const PortBinding& port : a.ports) {
    std::string name = port.name;
    std::replace(name.begin(), name.end(), '-', '_');
    if (port.task == task.name) out["TUTTI_PORT_" + name] = std::to_string(port.host);
  }
  add_devices(out, a, task);
  for (const auto& [key, value] : meta) {
    std::string name = key;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    out["TUTTI_META_" + name] = value;
  }
  return out;
}

}  // namespace

const std::string& image_of(const SpecMessage& spec, const TaskSpec& task) {
  auto resolved = spec.images.find(task.image);
  return resolved == spec.images.end() ? task.image : resolved->second;
}

Executor::Executor(ExecutorPaths paths, driver::Registry& drivers, Host host, int threads)
    : paths_(std::move(paths)), drivers_(drivers), host_(std::move(host)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(false); });
}

Executor::~Executor() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  stop_.request_stop();
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Executor::run(Op op, Subject subject, std::function<void(OpResult)> done,
                   std::function<void(uint32_t, uint32_t, uint16_t, driver::ExitStatus)> exited) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({op, std::move(subject), std::move(done), std::move(exited)});
    // A stop waits for as long as its task takes to go: it neither holds up other work nor waits behind other stops.
    const auto waiting =
        std::count_if(queue_.begin(), queue_.end(), [](const Job& job) { return job.op.kind == OpKind::stop; });
    if (op.kind == OpKind::stop && waiting > idle_ && threads_.size() < kThreadsMax)
      threads_.emplace_back([this] { work(true); });
  }
  wake_.notify_all();
}

// One thing of an instance at a time; but its tasks stop beside each other, or a group would take the sum of their
// graces.
bool Executor::may_run(const Op& op) const {
  return std::none_of(busy_.begin(), busy_.end(), [&](const Op& other) {
    const bool both_stop = op.kind == OpKind::stop && other.kind == OpKind::stop && op.task != other.task;
    return other.instance == op.instance && !both_stop;
  });
}

void Executor::work(bool stops_only) {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    auto next = std::find_if(queue_.begin(), queue_.end(), [&](const Job& job) {
      return (!stops_only || job.op.kind == OpKind::stop) && may_run(job.op);
    });
    if (next == queue_.end()) {
      if (!stops_only && remove_one_aside(lock)) continue;
      ++idle_;
      wake_.wait(lock);
      --idle_;
      continue;
    }
    Job job = std::move(*next);
    queue_.erase(next);
    busy_.push_back(job.op);
    lock.unlock();
    OpResult result = perform(job);
    lock.lock();
    std::erase_if(busy_, [&](const Op& op) {
      return op.instance == job.op.instance && op.task == job.op.task && op.kind == job.op.kind;
    });
    wake_.notify_all();
    if (stopping_) return;
    lock.unlock();
    job.done(std::move(result));
    lock.lock();
  }
}

std::string Executor::log_dir(InstanceId instance, const std::string& task) const {
  return paths_.data_dir + "/logs/" + to_text(instance) + "/" + task;
}

driver::RunContext Executor::context(const Assignment& a, const SpecMessage& spec, const TaskSpec& task,
                                     uint32_t generation, uint32_t attempt) const {
  driver::RunContext out;
  const std::string id = to_text(a.instance);
  out.instance = a.instance;
  out.job = a.job;
  out.generation = generation;
  out.attempt = attempt;
  out.instance_name = a.name;
  out.task_name = task.name;
  out.task = with_meta(task, spec.spec->meta);
  out.extra_env = environment(a, task, spec.spec->meta, paths_.node_name);
  out.run_dir = paths_.run_dir + "/runs/" + id + "." + std::to_string(generation) + "." + std::to_string(attempt) +
                "." + task.name;
  out.disk_dir = paths_.data_dir + "/disks/" + id + "/" + task.name;
  out.log_dir = log_dir(a.instance, task.name);
  out.cgroup = paths_.cgroup + "/" + id + "-" + task.name;
  out.lease_page = paths_.run_dir + "/lease";
  for (const VolumeMount& mount : task.volumes) {
    driver::ResolvedMount resolved{{}, mount.target, mount.read_only, mount.size.value};
    if (mount.kind == VolumeKind::host) resolved.source = mount.source;
    if (mount.kind == VolumeKind::local)
      resolved.source = paths_.data_dir + "/volumes/" + a.project + "/" + mount.source;
    out.mounts.push_back(std::move(resolved));
  }
  if (!spec.spec->payload.empty()) {
    driver::Driver* driver = drivers_.find(task.driver);
    const bool own_root = driver != nullptr && driver->capabilities().images;
    out.mounts.push_back({payload_file(a.instance), own_root ? kPayloadTarget : out.run_dir + kPayloadInRun, true, 0});
    out.extra_env["TUTTI_PAYLOAD"] = out.mounts.back().target;
  }
  return out;
}

// Made at its first use: open to whatever user a task of the project has, behind a folder that only root passes.
Status Executor::make_volume(const std::string& path) const {
  const std::string all = paths_.data_dir + "/volumes";
  TUTTI_CHECK(sys::make_dirs(all, 0700));
  if (::chmod(all.c_str(), 0700) != 0) return fail_errno("close " + all, errno);
  if (sys::exists(path)) return {};
  TUTTI_CHECK(sys::make_dirs(path, 0711));
  return ::chmod(path.c_str(), 0777) == 0 ? Status{} : fail_errno("open " + path, errno);
}

// Beside the disks of its tasks, and gone with them; no task can have this name.
std::string Executor::payload_file(InstanceId instance) const {
  return paths_.data_dir + "/disks/" + to_text(instance) + "/.payload";
}

Status Executor::write_payload(const driver::RunContext& run, const JobSpec& spec) const {
  if (spec.payload.empty()) return {};
  const std::string target = run.run_dir + kPayloadInRun;
  if (run.mounts.back().target == target && !sys::exists(target)) {
    TUTTI_CHECK(sys::make_dirs(run.run_dir, 0711));
    TUTTI_CHECK(sys::write_file_atomic(target, "", {.mode = 0444}));
  }
  const std::string file = payload_file(run.instance);
  if (sys::exists(file)) return {};
  TUTTI_CHECK(sys::make_dirs(file.substr(0, file.rfind('/')), 0711));
  return sys::write_file_atomic(file, net::base64_decode(spec.payload), {.mode = 0444});
}

// With image and network, which may take a while the first time.
driver::DriverResult<driver::RunContext> Executor::full_context(const Job& job) {
  const Subject& s = job.subject;
  driver::RunContext run = context(s.assignment, s.spec, s.task, job.op.generation, job.op.attempt);
  driver::Driver* driver = drivers_.find(s.task.driver);
  if (driver->capabilities().images && !s.task.image.empty()) {
    auto image = host_.image(image_of(s.spec, s.task));
    if (!image) {
      const bool refused = image.error().code == ErrorCode::invalid || image.error().code == ErrorCode::unsupported;
      Error error = std::move(image).error();
      return tl::make_unexpected(
          failure_of(error, refused ? driver::FailureKind::rejected : driver::FailureKind::retryable));
    }
    run.image = std::move(*image);
  }
  if (driver->capabilities().network && s.task.network != NetworkMode::host) {
    NetworkUp network;
    {
      std::lock_guard lock(mutex_);
      auto at = networks_.find(job.op.instance);
      if (at != networks_.end()) network = at->second;
    }
    if (network.netns.empty()) {
      auto up = host_.network_up(job.op.instance, s.assignment.ports, s.task.network);
      if (!up) return tl::make_unexpected(std::move(up).error());
      network = *up;
      std::lock_guard lock(mutex_);
      networks_[job.op.instance] = network;
    }
    run.netns = network.netns;
  }
  if (Status written = write_payload(run, *s.spec.spec); !written) {
    return tl::make_unexpected(failure_of(written.error(), driver::FailureKind::retryable));
  }
  for (size_t i = 0; i < s.task.volumes.size(); ++i) {
    const std::string& source = run.mounts[i].source;
    const VolumeKind kind = s.task.volumes[i].kind;
    // The project's list names folders; a link that some task made in one of them could lead anywhere.
    if (kind == VolumeKind::host && sys::leads_through_link(source)) {
      return tl::make_unexpected(failure_of(
          {ErrorCode::forbidden, "the host path " + source + " leads through a link: write where it leads", {}, 0},
          driver::FailureKind::rejected));
    }
    if (kind != VolumeKind::local) continue;
    if (Status made = make_volume(source); !made) return tl::make_unexpected(failure_of(std::move(made).error()));
  }
  return run;
}

OpResult Executor::perform(Job& job) {
  OpResult result;
  result.op = job.op;
  switch (job.op.kind) {
    case OpKind::network_up: {
      auto up = host_.network_up(job.op.instance, job.subject.assignment.ports, job.subject.task.network);
      if (!up) {
        result.failure = std::move(up).error();
        break;
      }
      result.address = up->address;
      std::lock_guard lock(mutex_);
      networks_[job.op.instance] = *up;
      break;
    }
    case OpKind::network_down: {
      if (Status down = host_.network_down(job.op.instance); !down) result.failure = failure_of(down.error());
      std::lock_guard lock(mutex_);
      networks_.erase(job.op.instance);
      break;
    }
    case OpKind::clear: result.failure = clear(job); break;
    case OpKind::image:
    case OpKind::recover:
    case OpKind::prepare:
    case OpKind::start:
    case OpKind::stop:
    case OpKind::destroy_run:
    case OpKind::pause:
    case OpKind::unpause:
    case OpKind::suspend: result.failure = perform_task(job); break;
  }
  return result;
}

std::optional<driver::Failure> Executor::perform_task(Job& job) {
  const Op& op = job.op;
  const Subject& s = job.subject;
  driver::Driver* driver = drivers_.find(s.task.driver);
  if (driver == nullptr) {
    return failure_of({ErrorCode::unsupported, "this node has no driver '" + s.task.driver + "'", {}, 0},
                      driver::FailureKind::rejected);
  }
  driver::RunContext run = context(s.assignment, s.spec, s.task, op.generation, op.attempt);
  auto handle = [&]() -> driver::DriverResult<driver::Handle> {
    {
      std::lock_guard lock(mutex_);
      auto at = handles_.find(run.run_dir);
      if (at != handles_.end()) return at->second;
    }
    return driver->recover(run);
  };
  auto watch = [&](const driver::Handle& got) {
    {
      std::lock_guard lock(mutex_);
      handles_[run.run_dir] = got;
    }
    driver->wait(run, got, [exited = job.exited, op](driver::ExitStatus status) {
      exited(op.generation, op.attempt, op.task, std::move(status));
    });
  };
  switch (op.kind) {
    case OpKind::image: {
      auto full = full_context(job);
      return full ? std::nullopt : std::optional(std::move(full).error());
    }
    case OpKind::prepare: {
      auto full = full_context(job);
      if (!full) return std::move(full).error();
      return failure_of(driver->prepare(*full, stop_.get_token()));
    }
    case OpKind::start: {
      auto full = full_context(job);
      if (!full) return std::move(full).error();
      full->start_by = job.op.start_by;
      auto started = driver->start(*full, stop_.get_token());
      if (!started) return std::move(started).error();
      watch(*started);
      return std::nullopt;
    }
    case OpKind::recover: {
      auto found = driver->recover(run);
      if (!found) return std::move(found).error();
      watch(*found);
      return std::nullopt;
    }
    case OpKind::stop: {
      auto got = handle();
      if (!got) return std::nullopt;  // it is gone: its end was or will be told
      return failure_of(driver->stop(run, *got, op.grace, stop_.get_token()));
    }
    case OpKind::destroy_run: {
      std::optional<driver::Failure> failure = failure_of(driver->destroy(run));
      std::lock_guard lock(mutex_);
      handles_.erase(run.run_dir);
      return failure;
    }
    case OpKind::pause:
    case OpKind::unpause: {
      driver::PauseDriver* pausing = driver->as_pause();
      if (pausing == nullptr)
        return failure_of({ErrorCode::unsupported, "driver " + s.task.driver + " cannot pause", {}, 0},
                          driver::FailureKind::failed);
      auto got = handle();
      if (!got) return std::move(got).error();
      return failure_of(op.kind == OpKind::pause ? pausing->pause(run, *got) : pausing->unpause(run, *got));
    }
    case OpKind::suspend: {
      driver::SuspendDriver* suspending = driver->as_suspend();
      if (suspending == nullptr)
        return failure_of({ErrorCode::unsupported, "driver " + s.task.driver + " cannot suspend", {}, 0},
                          driver::FailureKind::failed);
      auto got = handle();
      if (!got) return std::move(got).error();
      return failure_of(suspending->suspend(run, *got));
    }
    case OpKind::network_up:
    case OpKind::network_down:
    case OpKind::clear: break;
  }
  return std::nullopt;
}

// Everything of an instance: disks, logs, network. Its runs were destroyed before.
std::optional<driver::Failure> Executor::clear(const Job& job) {
  const Subject& s = job.subject;
  for (const TaskSpec& task : s.spec.spec->tasks) {
    driver::Driver* driver = drivers_.find(task.driver);
    if (driver == nullptr) continue;
    const driver::RunContext run = context(s.assignment, s.spec, task, job.op.generation, 0);
    if (!sys::exists(run.disk_dir)) continue;
    if (auto failure = failure_of(driver->destroy_disk(run))) return failure;
  }
  if (Status down = host_.network_down(job.op.instance); !down) return failure_of(down.error());
  const std::string id = to_text(job.op.instance);
  for (const char* folder : {"/disks/", "/logs/"}) {
    if (Status removed = sys::remove_tree(paths_.data_dir + folder + id); !removed) return failure_of(removed.error());
  }
  std::lock_guard lock(mutex_);
  networks_.erase(job.op.instance);
  return std::nullopt;
}

void Executor::sweep(const std::vector<InstanceId>& live) {
  std::set<std::string> names;
  for (InstanceId id : live) names.insert(to_text(id));
  // Later ones were this process's own: their runners have ended them.
  if (!std::exchange(runs_swept_, true)) sweep_runs(names);
  for (const char* folder : {"/disks", "/logs"}) {
    for (const std::string& entry : entries_of(paths_.data_dir + folder)) {
      if (!names.contains(entry)) set_aside(paths_.data_dir + folder, entry);
    }
  }
  wake_.notify_all();
}

// A run that nobody knows is ended by its driver: the folder says which task it was, every driver is asked.
void Executor::sweep_runs(const std::set<std::string>& live) {
  for (const std::string& entry : entries_of(paths_.run_dir + "/runs")) {
    const std::string id = entry.substr(0, entry.find('.'));
    if (live.contains(id)) continue;
    driver::RunContext run;
    run.run_dir = paths_.run_dir + "/runs/" + entry;
    run.task_name = entry.substr(entry.rfind('.') + 1);
    run.task.name = run.task_name;
    run.disk_dir = paths_.data_dir + "/disks/" + id + "/" + run.task_name;
    run.cgroup = paths_.cgroup + "/" + id + "-" + run.task_name;
    for (driver::Driver* driver : drivers_.all()) {
      if (auto done = driver->destroy(run); !done)
        log_warning("a leftover run was not removed", {{"run", entry}, {"error", done.error().error.to_string()}});
    }
  }
}

// An instance of this name may come back meanwhile. One that has such a name already was left by an earlier process, or
// waits to be removed.
void Executor::set_aside(const std::string& folder, const std::string& entry) {
  std::string path = folder + "/" + entry;
  if (!entry.starts_with(kAside)) {
    std::string aside;
    do aside = folder + "/" + kAside + std::to_string(aside_count_++);
    while (sys::exists(aside));
    if (::rename(path.c_str(), aside.c_str()) != 0) {
      const Error error = fail_errno("rename to " + aside, errno).value();
      return log_warning("a leftover was not removed", {{"path", path}, {"error", error.to_string()}});
    }
    path = std::move(aside);
  }
  std::lock_guard lock(mutex_);
  aside_.insert(std::move(path));
}

// It may take long: one at a time, when there is nothing else to do. What is left when this process ends is removed by
// the next one.
bool Executor::remove_one_aside(std::unique_lock<std::mutex>& lock) {
  if (removing_ || aside_.empty()) return false;
  removing_ = true;
  const std::string path = *aside_.begin();
  lock.unlock();
  if (Status removed = sys::remove_tree(path); !removed)
    log_warning("a leftover was not removed", {{"path", path}, {"error", removed.error().to_string()}});
  lock.lock();
  aside_.erase(path);
  removing_ = false;
  return true;
}

}  // namespace tutti::worker
