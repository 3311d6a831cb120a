// Placement counts with what workers say: none of it may overflow, be taken twice, or steer a terminal.
#include <fmt/format.h>

#include <set>

#include "base/limits.h"
#include "base/printable.h"
#include "base/text.h"
#include "model/validate.h"

namespace tutti {
namespace {

constexpr int32_t kPortMax = 65'535;

class InventoryValidator {
 public:
  explicit InventoryValidator(const Inventory& inventory) : i_(inventory) {}

  Status run() {
    texts();
    range("port_first", i_.port_first, 1, kPortMax);
    range("port_last", i_.port_last, i_.port_first, kPortMax);
    range("cores", i_.cores, 0, limits::kMillicoresMax / 1000);
    range("memory", i_.memory.value, 0, limits::kSizeBytesMax);
    resources("capacity", i_.capacity);
    resources("reserved", i_.reserved);
    for (const auto& [name, count] : i_.limits) {
      if (!is_name(name)) wrong("the limit '" + printable(name) + "' has no name of a-z, 0-9 and '-'");
      range("the limit " + name, count, 0, limits::kNodeLimitMax);
    }
    devices();
    if (wrong_.empty()) return {};
    return fail(ErrorCode::invalid, "the inventory of this worker is not valid: " + wrong_);
  }

 private:
  void wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
  }
  void range(const std::string& what, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most) wrong(fmt::format("{} is {}, not {} to {}", what, value, least, most));
  }
  void resources(const std::string& what, const Resources& r) {
    range(what + ".cpu", r.cpu.value, 0, limits::kMillicoresMax);
    range(what + ".memory", r.memory.value, 0, limits::kSizeBytesMax);
    range(what + ".disk", r.disk.value, 0, limits::kSizeBytesMax);
  }
  void text(std::string_view what, std::string_view value) {
    if (printable(value) != value)
      wrong(fmt::format("{} has control characters: '{}'", what, printable(value.substr(0, 80))));
  }
  void texts() {
    text("hostname", i_.hostname);
    text("os", i_.os);
    text("kernel", i_.kernel);
    text("arch", i_.arch);
    text("cpu_model", i_.cpu_model);
    text("cgroups", i_.cgroups);
    text("boot_id", i_.boot_id);
    text("version", i_.version);
    for (const DiskInfo& disk : i_.disks) text("the path of a disk", disk.path);
    for (const std::string& address : i_.addresses) text("an address", address);
    for (const DriverInfo& driver : i_.drivers) {
      text("the name of a driver", driver.name);
      text("the version of a driver", driver.version);
      text("what is wrong with a driver", driver.reason);
    }
    for (const auto& [key, value] : i_.attributes) {
      text("the name of an attribute", key);
      text("an attribute", value);
    }
  }
  void devices() {
    if (i_.devices.size() > limits::kDevicesMax)
      wrong(fmt::format("{} devices (limit kDevicesMax is {}): declare fewer with --devices", i_.devices.size(),
                        limits::kDevicesMax));
    std::set<std::string_view> ids;
    for (const Device& device : i_.devices) {
      text("the id of a device", device.id);
      text("the kind of a device", device.kind);
      text("the model of a device", device.model);
      range("the memory of a device", device.memory.value, 0, limits::kSizeBytesMax);
      if (device.id.empty()) wrong("a device has no id");
      if (!ids.insert(device.id).second) wrong("two devices are called " + printable(device.id));
    }
  }

  const Inventory& i_;
  std::string wrong_;  // the first thing
};

}  // namespace

Status validate(const Inventory& inventory) {
  return InventoryValidator(inventory).run();
}

}  // namespace tutti
