#include "scheduler/machine.h"

#include <algorithm>

namespace tutti::scheduler {

bool has_room(const Machine& machine, const GpuTask& task) {
  if (machine.cpu < task.cpu || machine.memory < task.memory) return false;
  int32_t found = 0;
  for (size_t i = 0; i < machine.gpus && found < task.count; ++i) found += takes(task, machine, i) ? 1 : 0;
  return found == task.count;
}

Taking take(Machine& machine, const GpuTask& task, size_t gpu) {
  Taking out;
  machine.cpu -= task.cpu;
  machine.memory -= task.memory;
  const size_t first = task.count == 1 ? gpu : 0;
  for (size_t i = first; i < machine.gpus && out.count < task.count; ++i) {
    if (!takes(task, machine, i)) continue;
    machine.free[i] = static_cast<int16_t>(machine.free[i] - task.share);
    out.gpu[out.count++] = static_cast<uint8_t>(i);
  }
  return out;
}

void give_back(Machine& machine, const GpuTask& task, const Taking& taking) {
  machine.cpu += task.cpu;
  machine.memory += task.memory;
  for (size_t i = 0; i < taking.count; ++i) {
    int16_t& free = machine.free[taking.gpu[i]];
    free = static_cast<int16_t>(free + task.share);
  }
}

uint8_t kind_number(std::vector<Device>& kinds, const Device& device) {
  for (size_t i = 0; i < kinds.size(); ++i)
    if (kinds[i].model == device.model && kinds[i].memory == device.memory) return static_cast<uint8_t>(i);
  if (kinds.size() == kGpuKindsMax) return kGpuKindsMax - 1;
  kinds.push_back({"", "gpu", device.model, device.memory});
  return static_cast<uint8_t>(kinds.size() - 1);
}

uint16_t shape_number(std::vector<std::string>& shapes, const Machine& machine, const std::vector<Device>& kinds) {
  std::string name;
  for (size_t i = 0; i < machine.gpus; ++i)
    name += kinds[machine.kind[i]].model + "/" + std::to_string(kinds[machine.kind[i]].memory.value >> 30) + " ";
  name += std::to_string(machine.cpu / 1'000);
  const auto at = std::ranges::find(shapes, name);
  const auto index = static_cast<size_t>(at - shapes.begin());
  if (at == shapes.end() && shapes.size() < UINT8_MAX) shapes.push_back(std::move(name));
  return static_cast<uint16_t>(std::min<size_t>(index, UINT8_MAX));
}

GpuTask task_of(const Resources& resources, const std::vector<DeviceSpec>& gpu, const std::vector<Device>& kinds) {
  GpuTask out{resources.cpu.value, resources.memory.value, 0, 0, 0};
  if (gpu.empty()) return out;
  out.count = static_cast<int32_t>(gpu.front().count);
  out.share = static_cast<int32_t>(gpu.front().share);
  for (size_t i = 0; i < kinds.size(); ++i)
    if (will_do(kinds[i], gpu.front())) out.kinds |= uint64_t{1} << i;
  return out;
}

}  // namespace tutti::scheduler
