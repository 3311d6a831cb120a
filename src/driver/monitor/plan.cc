#include "driver/monitor/plan.h"

#include "base/limits.h"
#include "driver/log_file.h"
#include "sys/file.h"

namespace tutti::driver::monitor {

void add_common(ConfigText& config, const RunContext& run, const sys::Cgroups& cgroups, int stop_signal) {
  std::vector<std::string> folders = cgroups.folders(run.cgroup);
  config.add_all("cgroup", folders);
  for (const std::string& folder : folders) {
    if (sys::exists(folder + "/cgroup.kill")) config.add("kill_file", folder + "/cgroup.kill");
    if (sys::exists(folder + "/cgroup.freeze")) config.add("freeze_file", folder + "/cgroup.freeze").add("thaw_word", "0");
    if (sys::exists(folder + "/freezer.state")) config.add("freeze_file", folder + "/freezer.state").add("thaw_word", "THAWED");
    for (const char* name : {"/memory.oom_control", "/memory.events"}) {
      if (sys::exists(folder + name)) config.add("oom_file", folder + name);
    }
  }
  if (!run.log_dir.empty()) {
    config.add("log", run.log_dir + "/" + std::string(kLogFileName));
    config.add("log_bytes", static_cast<int64_t>(limits::kLogFileBytesMax)).add("log_files", int64_t{limits::kLogFilesKept});
  }
  if (!run.netns.empty()) config.add("netns", run.netns);
  config.add_flag("tty", run.task.tty).add_flag("stdin_open", run.task.stdin_open);
  if (!run.lease_page.empty() && run.task.on_disconnect == DisconnectPolicy::stop_after) {
    config.add("lease", run.lease_page).add("lease_grace_ns", run.task.disconnect_grace.ns);
  }
  config.add("stop_signal", int64_t{stop_signal}).add("stop_grace_ns", run.task.stop_grace.ns);
}

sys::CgroupLimits limits_of(const RunContext& run) {
  const TaskSpec& task = run.task;
  sys::CgroupLimits out;
  out.cpu_shares_millicores = task.resources.cpu.value;
  out.cpu_quota_millicores = task.limits.cpu.value;
  out.cpuset = task.limits.cpuset;
  out.memory_bytes = task.limits.memory.value > 0 ? task.limits.memory.value : task.resources.memory.value;
  out.pids = task.limits.pids;
  if (task.limits.io_read_per_second.value > 0 || task.limits.io_write_per_second.value > 0) {
    out.io_device = sys::io_device_of(run.disk_dir);
    out.io_read_bytes_per_second = task.limits.io_read_per_second.value;
    out.io_write_bytes_per_second = task.limits.io_write_per_second.value;
  }
  out.only_harmless_devices = !task.security.privileged;
  return out;
}

}  // namespace tutti::driver::monitor
