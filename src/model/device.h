#pragma once
// Devices: the physical things of a node that instances get whole or by thousandths: GPUs and their like.
//
// A node's worker says which it has (Inventory::devices); a task says what it wants (TaskSpec::gpu, devices); a plan
// says which ones an instance gets (DeviceBinding), and apply checks that none is given out beyond 1,000 thousandths.
// What needs whole devices gets idle ones. Pure.

#include <boost/describe.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/values.h"

namespace tutti {

inline constexpr int64_t kWholeDevice = 1'000;

struct Device {
  std::string id;  // unique on its node: "GPU-8a1c…", "gpu0"; what NVIDIA_VISIBLE_DEVICES takes
  std::string kind = "gpu";
  std::string model;  // "T4"; empty: not known
  Bytes memory;       // of its own; 0: not known
  bool operator==(const Device&) const = default;
};
BOOST_DESCRIBE_STRUCT(Device, (), (id, kind, model, memory))

// What a task wants: `count` of a kind, each whole, or a share of one.
struct DeviceSpec {
  std::string kind = "gpu";
  int64_t count = 1;
  int64_t share = kWholeDevice;     // thousandths of each; less than 1,000 only where count is 1
  std::vector<std::string> models;  // one of these; empty: any
  Bytes memory;                     // the device has at least this
  bool operator==(const DeviceSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(DeviceSpec, (), (kind, count, share, models, memory))

// One device that a task of an instance holds.
struct DeviceBinding {
  std::string task;
  std::string device;
  std::string kind;
  int64_t share = kWholeDevice;
  bool operator==(const DeviceBinding&) const = default;
};
BOOST_DESCRIBE_STRUCT(DeviceBinding, (), (task, device, kind, share))

// One wish of a group, with the task that has it.
struct DeviceAsk {
  std::string task;
  DeviceSpec spec;
  bool operator==(const DeviceAsk&) const = default;
};

// Kind, model and memory are right, whatever of it is free.
bool will_do(const Device& device, const DeviceSpec& spec);
// "2 gpu of T4|V100 with 16Gi"; what a person reads where there is none.
std::string to_text(const DeviceSpec& spec);

// Which devices the asks get, given what of each (by index) is free; `free` is charged. In the order of the asks, each
// its `count` bindings. A share goes to the fullest device that has it; what is asked by the fewest devices chooses
// first. `preferred`: the device that a share goes to where it will do. Nothing, and `free` as it was, if one of them
// finds none.
std::optional<std::vector<DeviceBinding>> choose_devices(const std::vector<DeviceAsk>& asks,
                                                         const std::vector<Device>& devices, std::vector<int64_t>& free,
                                                         std::optional<size_t> preferred = std::nullopt);
// The bindings are what the asks want, of devices that are there.
bool as_asked(const std::vector<DeviceBinding>& bindings, const std::vector<DeviceAsk>& asks,
              const std::vector<Device>& devices);

}  // namespace tutti
