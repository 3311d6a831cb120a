#pragma once
// A conformance harness for drivers with monitors: real folders under a temporary one, real control groups, and the
// search for what a destroyed run left on the machine. Only for tests. Needs root.

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string>

#include "driver/conformance_harness.h"
#include "driver/log_file.h"
#include "driver/monitor/monitored.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::driver::conformance {

class RealHarness : public Harness {
 public:
  RealHarness() {
    char pattern[] = "/tmp/tutti-driver-XXXXXX";
    root_ = mkdtemp(pattern);
    if (auto made = sys::Cgroups::detect()) cgroups_ = std::move(*made);
  }
  ~RealHarness() override {
    if (cgroups_) (void)cgroups_->remove(group_root(), seconds(5));
    std::filesystem::remove_all(root_);
  }

  std::optional<std::string> why_not() override {
    if (geteuid() != 0) return "needs root";
    if (!cgroups_) return "no usable cgroups on this machine";
    return std::nullopt;
  }

  RunContext make_run(const Program& program) override {
    RunContext run = blank_run();
    std::string script = program.print.empty() ? "" : "echo '" + program.print + "'; ";
    // A shell that is pid 1 hears no TERM unless it asks for it.
    if (program.forever) {
      script += program.ignores_term ? "trap '' TERM; " : "trap 'exit 143' TERM; ";
      script += "echo ready; while :; do sleep 3600 & wait $!; done";
    } else {
      script += "exit " + std::to_string(program.exit_code);
    }
    run.task.command = {"/bin/sh", "-c", script};
    return run;
  }

  RunContext blank_run() {
    RunContext run;
    uint64_t number = ++counter_;
    run.instance = InstanceId{number};
    run.instance_name = "test-" + std::to_string(number);
    run.task_name = "main";
    run.task.name = "main";
    run.task.driver = driver_name();
    run.run_dir = root_ + "/run/" + run.instance_name;
    run.disk_dir = root_ + "/disk/" + run.instance_name;
    run.log_dir = root_ + "/log/" + run.instance_name;
    run.cgroup = group_root() + "/" + run.instance_name;
    return run;
  }

  std::string leftovers(const RunContext& run) override {
    std::string out;
    if (sys::exists(run.run_dir)) out += "folder " + run.run_dir + "; ";
    for (const std::string& folder : cgroups_->folders(run.cgroup)) {
      if (sys::exists(folder)) out += "cgroup " + folder + "; ";
    }
    for (int pid : cgroups_->processes(run.cgroup)) out += "process " + std::to_string(pid) + "; ";
    auto mounts = sys::read_file("/proc/self/mountinfo");
    if (mounts && mounts->find(run.run_dir) != std::string::npos) out += "a mount below " + run.run_dir + "; ";
    // Monitors name their run folder on their command line. One that ends now needs a moment.
    for (int tries = 0; tries < 200 && !processes_naming(run.run_dir).empty(); ++tries) usleep(5000);
    for (const std::string& line : processes_naming(run.run_dir)) out += "process " + line + "; ";
    return out;
  }

  std::optional<std::string> log_of(const RunContext& run) override {
    LogReader reader(run.log_dir, {});
    std::string out;
    auto records = reader.next();
    if (!records) return "unreadable: " + records.error().to_string();
    for (const LogRecord& record : *records) {
      out += std::string(record.stream == LogStream::out ? "out" : "err") + (record.partial ? " P " : " F ") +
             record.text + "\n";
    }
    return out;
  }

  void await_ready(const RunContext& run) override {
    if (run.task.command.empty() || run.task.command.back().find("echo ready") == std::string::npos) return;
    for (int tries = 0; tries < 2000 && log_of(run)->find("ready") == std::string::npos; ++tries) usleep(2000);
  }

  bool kill_monitor(const RunContext& run) override {
    auto pid = sys::read_file(run.run_dir + "/lock");
    if (!pid || atoi(pid->c_str()) <= 1) return false;
    kill(atoi(pid->c_str()), SIGKILL);
    for (int tries = 0; tries < 1000 && sys::lock_is_held(run.run_dir + "/lock"); ++tries) usleep(2000);
    return true;
  }

  const std::string& root() const { return root_; }
  sys::Cgroups& cgroups() { return *cgroups_; }
  std::string bin_dir() const { return root_ + "/bin"; }

 protected:
  virtual std::string driver_name() const = 0;
  std::string group_root() const { return "tutti-test-" + root_.substr(root_.rfind('-') + 1); }

 private:
  static std::vector<std::string> processes_naming(const std::string& text) {
    std::vector<std::string> out;
    DIR* proc = opendir("/proc");
    while (const dirent* entry = readdir(proc)) {
      int pid = atoi(entry->d_name);
      if (pid <= 1) continue;
      auto line = sys::read_file("/proc/" + std::string(entry->d_name) + "/cmdline");
      if (line && line->find(text) != std::string::npos) out.push_back(entry->d_name);
    }
    closedir(proc);
    return out;
  }

  std::string root_;
  std::unique_ptr<sys::Cgroups> cgroups_;
  static inline std::atomic<uint64_t> counter_{0};
};

}  // namespace tutti::driver::conformance
