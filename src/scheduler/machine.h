#pragma once
// Machine: a node as the policy `fragmentation` sees it, and GpuTask: what is asked for. Plain integers. Pure.
//
// The kinds of GPU of a pool (model and memory) are numbered by whoever makes machines and tasks; at most 64, what
// comes later shares the last number. Machines that are alike when idle share a `shape` (a number likewise).

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/limits.h"
#include "model/device.h"
#include "model/resources.h"

namespace tutti::scheduler {

inline constexpr size_t kGpusMax = limits::kDevicesMax;  // of a machine
inline constexpr size_t kGpuKindsMax = 64;

struct Machine {
  int64_t cpu = 0;     // free, millicores
  int64_t memory = 0;  // free, bytes
  uint16_t shape = 0;
  uint8_t gpus = 0;
  std::array<uint8_t, kGpusMax> kind{};
  std::array<int16_t, kGpusMax> free{};  // thousandths
};

struct GpuTask {
  int64_t cpu = 0;
  int64_t memory = 0;
  int32_t count = 0;   // of GPUs; 0: none
  int32_t share = 0;   // thousandths of each
  uint64_t kinds = 0;  // a bit per kind that will do
  bool operator==(const GpuTask&) const = default;
};

inline bool takes(const GpuTask& task, const Machine& machine, size_t gpu) {
  return (task.kinds >> machine.kind[gpu] & 1) != 0 && machine.free[gpu] >= task.share;
}
inline int32_t thousandths(const GpuTask& task) {
  return task.count * task.share;
}
// Cpu, memory and GPUs are there.
bool has_room(const Machine& machine, const GpuTask& task);
// Takes the task's cpu, memory and GPUs: `gpu` where it wants a share of one, else the first that will do. What was
// taken from, to give it back.
struct Taking {
  uint8_t count = 0;
  std::array<uint8_t, kGpusMax> gpu;  // the first `count`
};
Taking take(Machine& machine, const GpuTask& task, size_t gpu);
void give_back(Machine& machine, const GpuTask& task, const Taking& taking);

// What a pool has seen being asked for: the same again and again, hence with a weight. Groups that ask for several
// kinds of things count as their first wish for GPUs.
struct Wanted {
  Resources resources;
  std::vector<DeviceSpec> gpu;  // one, or none
  int64_t weight = 0;
  bool operator==(const Wanted&) const = default;
};
using Workload = std::vector<Wanted>;

// The machines of a pool, idle, with the names of their kinds and shapes: what is learned from beside the workload.
struct Fleet {
  std::vector<Machine> machines;
  std::vector<Device> kinds;        // only model and memory count
  std::vector<std::string> shapes;  // "8 G2, 96000"
};
// The number of the kind, or shape; made if it is new.
uint8_t kind_number(std::vector<Device>& kinds, const Device& device);
uint16_t shape_number(std::vector<std::string>& shapes, const Machine& machine, const std::vector<Device>& kinds);
GpuTask task_of(const Resources& resources, const std::vector<DeviceSpec>& gpu, const std::vector<Device>& kinds);

}  // namespace tutti::scheduler
