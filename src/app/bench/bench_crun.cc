// The peer: crun alone, with a bundle of its own: a namespace of each kind, but no network set up in it and no control
// group,
#include <sched.h>
#include <sys/mount.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "app/bench/bench.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::app::bench {
namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig =
    R"({"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":0,"gid":0},"args":["sleep","100000"],
"env":["PATH=/bin"],"cwd":"/","noNewPrivileges":true},"root":{"path":"rootfs","readonly":true},"hostname":"bench",
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev","type":"tmpfs","source":"tmpfs",
"options":["nosuid","strictatime","mode=755","size=65536k"]}],"linux":{
"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}]}})";

Result<double> run_one(const std::string& bundle, const std::string& id) {
  const BootTime start = now();
  sys::SpawnOptions options;
  options.argv = {
      "crun", "--cgroup-manager=disabled", "--root", bundle + "/state", "run", "--detach", "--bundle", bundle, id};
  options.inherit_env = true;
  TUTTI_TRY(const int pid, sys::spawn(options));
  const auto code = sys::reap(pid);
  if (!code || *code != 0)
    return fail(ErrorCode::unavailable, "crun run ended with " + std::to_string(code.value_or(-1)));
  return seconds_since(start) * 1e3;
}

// On a thread with mounts of its own, where the v2 tree of a hybrid machine is not seen: crun refuses it, and tutti's
// monitors take it away in the same way.
template <class Work>
void without_unified_tree(Work work) {
  std::thread([&] {
    if (::unshare(CLONE_NEWNS | CLONE_FS) == 0 && ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0)
      (void)::umount2("/sys/fs/cgroup/unified", MNT_DETACH);
    work();
  }).join();
}

}  // namespace

Result<std::unique_ptr<BareCrun>> BareCrun::make() {
  if (sys::find_program("crun").empty()) return fail(ErrorCode::unavailable, "crun is missing: apt-get install crun");
  std::string name = fs::temp_directory_path() / "tutti-crun-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) return fail(ErrorCode::io, "no temporary folder " + name);
  auto out = std::make_unique<BareCrun>();
  out->bundle_ = name;
  TUTTI_CHECK(make_rootfs(name + "/rootfs"));
  TUTTI_CHECK(sys::write_file_atomic(name + "/config.json", kConfig));
  TUTTI_CHECK(out->run_ms());  // the first one makes what all share
  return out;
}

BareCrun::~BareCrun() {
  clear();
  (void)sys::remove_tree(bundle_);
}

Result<double> BareCrun::run_ms() {
  ids_.push_back("tutti-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++number_));
  Result<double> out = 0.0;
  without_unified_tree([&] { out = run_one(bundle_, ids_.back()); });
  return out;
}

Result<double> BareCrun::run_many_ms(int count, int lanes) {
  const size_t first = ids_.size();
  for (int i = 0; i < count; ++i)
    ids_.push_back("tutti-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++number_));
  std::atomic<size_t> next = first;
  std::atomic<bool> failed = false;
  const BootTime start = now();
  std::vector<std::thread> threads;
  for (int lane = 0; lane < lanes; ++lane) {
    threads.emplace_back([&] {
      without_unified_tree([&] {
        for (size_t i = next++; i < ids_.size(); i = next++)
          if (!run_one(bundle_, ids_[i])) failed = true;
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failed) return fail(ErrorCode::unavailable, "crun run failed");
  return seconds_since(start) * 1e3;
}

void BareCrun::clear() {
  without_unified_tree([&] {
    for (const std::string& id : ids_) {
      sys::SpawnOptions options;
      options.argv = {"crun", "--cgroup-manager=disabled", "--root", bundle_ + "/state", "delete", "--force", id};
      options.inherit_env = true;
      if (auto pid = sys::spawn(options)) (void)sys::reap(*pid);
    }
  });
  ids_.clear();
}

}  // namespace tutti::app::bench
