#pragma once
// What a node has and what an instance reserves: a plain vector of exact integers, with its arithmetic.

#include <boost/describe.hpp>

#include "model/values.h"

namespace tutti {

struct Resources {
  Millicores cpu;
  Bytes memory;
  Bytes disk;
  bool operator==(const Resources&) const = default;
  Resources& operator+=(const Resources& o) {
    cpu.value += o.cpu.value, memory.value += o.memory.value, disk.value += o.disk.value;
    return *this;
  }
  Resources& operator-=(const Resources& o) {
    cpu.value -= o.cpu.value, memory.value -= o.memory.value, disk.value -= o.disk.value;
    return *this;
  }
  friend Resources operator+(Resources a, const Resources& b) { return a += b; }
  friend Resources operator-(Resources a, const Resources& b) { return a -= b; }
  // True when every dimension of *this is at most that of `room`.
  bool fits(const Resources& room) const { return cpu <= room.cpu && memory <= room.memory && disk <= room.disk; }
};
BOOST_DESCRIBE_STRUCT(Resources, (), (cpu, memory, disk))

}  // namespace tutti
