#pragma once
// The conformance harness of the container driver: an image made of a static busybox. Only for tests.

#include "driver/container/container_driver.h"
#include "driver/monitor/real_harness.h"

namespace tutti::driver::conformance {

// An image of one layer: a static busybox and a user.
class ContainerHarness final : public RealHarness {
 public:
  explicit ContainerHarness(std::string runtime = "crun") : runtime_(std::move(runtime)) {}
  std::optional<std::string> why_not() override {
    if (auto reason = RealHarness::why_not()) return reason;
    if (sys::find_program(runtime_).empty()) return runtime_ + " is not installed";
    if (!sys::exists("/bin/busybox")) return "no /bin/busybox (apt-get install busybox-static)";
    return std::nullopt;
  }
  std::unique_ptr<Driver> make_driver() override {
    auto monitor = MonitoredDriver::install_monitor(bin_dir());
    return make_container_driver(monitor.value(), std::shared_ptr(sys::Cgroups::detect().value()),
                                 std::shared_ptr(sys::Reaper::make().value()), runtime_);
  }
  RunContext make_run(const Program& program) override {
    RunContext run = RealHarness::make_run(program);
    make_image(root() + "/image");
    run.image = ImageOnDisk{};
    run.image->lower_dirs = {root() + "/image"};
    return run;
  }

 protected:
  std::string driver_name() const override { return "container"; }

 private:
  const std::string runtime_;
  static void make_image(const std::string& folder) {
    namespace fs = std::filesystem;
    if (fs::exists(folder)) return;
    fs::create_directories(folder + "/bin");
    fs::create_directories(folder + "/etc");
    fs::create_directories(folder + "/tmp");
    fs::copy_file("/bin/busybox", folder + "/bin/busybox");
    for (const char* name : {"sh", "sleep", "cat", "echo", "id", "ls", "mount", "mknod", "hostname", "stty", "tr", "dd",
                             "head", "true", "unshare", "env", "pwd"}) {
      fs::create_symlink("busybox", folder + "/bin/" + name);
    }
    (void)sys::write_file_atomic(folder + "/etc/passwd",
                                 "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/srv:/bin/sh\n");
    (void)sys::write_file_atomic(folder + "/etc/group", "root:x:0:\nweb:x:102:\nextra:x:200:web\n");
  }
};

}  // namespace tutti::driver::conformance
