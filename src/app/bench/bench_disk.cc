#include <fcntl.h>
#include <unistd.h>

#include "app/bench/bench.h"
#include "sys/file.h"

namespace tutti::app::bench {

DiskWatch::DiskWatch(const std::string& directory) {
  thread_ = std::thread([this, path = directory + "/disk-watch"] { run(path); });
}

DiskWatch::~DiskWatch() {
  over_ = true;
  thread_.join();
}

std::vector<double> DiskWatch::ms() const {
  std::lock_guard lock(mutex_);
  return ms_;
}

void DiskWatch::run(const std::string& path) {
  const sys::UniqueFd file(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ::unlink(path.c_str());
  const std::string page(4096, 'x');
  while (!over_) {
    const BootTime start = now();
    if (::pwrite(file.get(), page.data(), page.size(), 0) < 0 || ::fdatasync(file.get()) != 0) return;
    {
      std::lock_guard lock(mutex_);
      ms_.push_back(seconds_since(start) * 1e3);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace tutti::app::bench
