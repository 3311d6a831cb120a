#include "model/node.h"

#include <algorithm>

namespace tutti {

Resources allocatable(const Node& node) {
  if (node.inventory == nullptr) return {};
  Resources free = node.inventory->capacity - node.inventory->reserved;
  free.cpu.value = std::max<int64_t>(free.cpu.value, 0);
  free.memory.value = std::max<int64_t>(free.memory.value, 0);
  free.disk.value = std::max<int64_t>(free.disk.value, 0);
  return free;
}

}  // namespace tutti
