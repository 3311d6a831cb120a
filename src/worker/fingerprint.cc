#include "worker/fingerprint.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "base/limits.h"
#include "base/printable.h"
#include "base/text.h"
#include "model/validate.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "worker/gpus.h"

namespace tutti::worker {
namespace {

std::string line_value(const std::string& text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string::npos) return {};
  const size_t start = text.find_first_of(":=", at);
  if (start == std::string::npos) return {};
  const size_t end = text.find('\n', start);
  std::string value(trim(std::string_view(text).substr(start + 1, end - start - 1)));
  std::erase(value, '"');
  return value;
}

std::vector<std::string> interface_addresses() {
  std::vector<std::string> out;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return out;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET || (one->ifa_flags & IFF_LOOPBACK) != 0)
      continue;
    if (std::string_view(one->ifa_name).starts_with("tt")) continue;  // our own bridges
    char text[INET_ADDRSTRLEN];
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    if (::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text) != nullptr) out.emplace_back(text);
  }
  ::freeifaddrs(all);
  if (out.empty()) out.emplace_back("127.0.0.1");
  return out;
}

// What drivers and files say goes to people's terminals: the manager takes one line each, without control characters.
void make_printable(Inventory& inventory) {
  auto clean = [](std::string& text) { text = printable(text, ' '); };
  for (std::string* text : {&inventory.hostname, &inventory.os, &inventory.kernel, &inventory.cpu_model,
                            &inventory.boot_id, &inventory.version})
    clean(*text);
  for (DriverInfo& driver : inventory.drivers) clean(driver.name), clean(driver.version), clean(driver.reason);
  for (DiskInfo& disk : inventory.disks) clean(disk.path);
  for (Device& device : inventory.devices) clean(device.model);
  for (auto& [key, value] : inventory.attributes) clean(value);
}

}  // namespace

Inventory fingerprint(const FingerprintOptions& options, driver::Registry& drivers) {
  Inventory out;
  utsname names{};
  ::uname(&names);
  out.hostname = names.nodename;
  out.kernel = names.release;
  out.arch = names.machine;
  const std::string os = sys::read_file("/etc/os-release").value_or("");
  out.os = line_value(os, "PRETTY_NAME");
  out.cpu_model = line_value(sys::read_file("/proc/cpuinfo", 64u << 20).value_or(""), "model name");
  out.cores = static_cast<int32_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  out.memory.value = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  struct statvfs disk{};
  if (::statvfs(options.data_dir.c_str(), &disk) == 0) {
    const auto unit = static_cast<int64_t>(disk.f_frsize);
    out.disks.push_back(
        {options.data_dir, {static_cast<int64_t>(disk.f_blocks) * unit}, {static_cast<int64_t>(disk.f_bavail) * unit}});
  }
  out.capacity = {{int64_t{out.cores} * 1000}, out.memory, {out.disks.empty() ? 0 : out.disks[0].free.value}};
  if (options.capacity.cpu.value > 0) out.capacity.cpu = options.capacity.cpu;
  if (options.capacity.memory.value > 0) out.capacity.memory = options.capacity.memory;
  if (options.capacity.disk.value > 0) out.capacity.disk = options.capacity.disk;
  out.reserved = options.reserved;
  for (driver::Driver* driver : drivers.all()) out.drivers.push_back(driver->fingerprint());
  out.addresses = options.addresses.empty() ? interface_addresses() : options.addresses;
  if (auto groups = sys::Cgroups::detect()) out.cgroups = std::string(sys::cgroup_layout_name((*groups)->layout()));
  out.boot_id = std::string(trim(sys::read_file("/proc/sys/kernel/random/boot_id").value_or("")));
  out.version = options.version;
  out.feature_level = kFeatureLevel;
  out.port_first = options.port_first;
  out.limits = options.limits;
  out.devices = options.devices ? *options.devices : find_gpus(kNvidiaProc);
  out.port_last = options.port_last;
  out.attributes = options.attributes;
  // More than that nobody gives out: a file system may be larger.
  out.memory.value = std::min(out.memory.value, limits::kSizeBytesMax);
  out.capacity.cpu.value = std::min(out.capacity.cpu.value, limits::kMillicoresMax);
  out.capacity.memory.value = std::min(out.capacity.memory.value, limits::kSizeBytesMax);
  out.capacity.disk.value = std::min(out.capacity.disk.value, limits::kSizeBytesMax);
  make_printable(out);
  return out;
}

Inventory with_network(Inventory inventory, driver::Registry& drivers, const std::string& why) {
  if (why.empty()) return inventory;
  for (DriverInfo& driver : inventory.drivers) {
    const driver::Driver* known = drivers.find(driver.name);
    if (known == nullptr || !known->capabilities().network || !driver.healthy) continue;
    driver.healthy = false;
    driver.reason = "the node's network is not ready: " + why;
  }
  make_printable(inventory);
  return inventory;
}

}  // namespace tutti::worker
