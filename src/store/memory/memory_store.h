#pragma once
// The store in memory, for tests and simulation, with every fault a disk can show.
//
// A MemoryDisk is the disk: it outlives the stores opened on it, so a test can crash and open again; a power cut loses
// what was not synced. Faults are scripted per append. Not thread-safe: one thread, as in a simulation.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "store/store.h"

namespace tutti::store {

enum class AppendFault : uint8_t {
  none,
  refused,             // not stored, and says so
  unknown_stored,      // stored, but the answer is lost
  unknown_not_stored,  // lost, and the answer too
  torn,                // half of it reached the disk: the next open drops it; the answer is lost
};

struct MemoryDisk {
  uint64_t epoch = 0;
  uint64_t checkpoint = 0;
  std::map<uint64_t, std::string> log;
  std::map<std::pair<uint32_t, uint64_t>, std::string> pages;
  std::map<uint64_t, bool> torn;   // revision → its bytes are incomplete
  std::deque<AppendFault> faults;  // one per append to come; empty: none
  bool fail_next_checkpoint = false;
  uint64_t appends = 0;

  // The machine loses its power: what was written and not synced is undone, newest first.
  void cut_power();
  // How each write that is not yet synced is undone.
  std::vector<std::function<void(MemoryDisk&)>> unsynced;
};

std::unique_ptr<Store> make_memory_store(std::shared_ptr<MemoryDisk> disk);

}  // namespace tutti::store
