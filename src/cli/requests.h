#pragma once
// The bodies of calls that are not the model's own structs.

#include <boost/describe.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"

namespace tutti::cli {

struct RebalanceBody {
  bool dry_run = true;
  std::string node_pool;
  int64_t max_moves = 50;
  int32_t max_parallel = 2;
  bool include_batch = false;
};
BOOST_DESCRIBE_STRUCT(RebalanceBody, (), (dry_run, node_pool, max_moves, max_parallel, include_batch))

struct PoolBody {
  std::optional<std::string> policy;
};
BOOST_DESCRIBE_STRUCT(PoolBody, (), (policy))

struct ProjectBody {
  std::optional<bool> allow_privileged;
  std::optional<bool> preemption;
  std::optional<std::vector<std::string>> host_paths;
};
BOOST_DESCRIBE_STRUCT(ProjectBody, (), (allow_privileged, preemption, host_paths))

struct SignalBody {
  std::string signal;
  std::string task;
};
BOOST_DESCRIBE_STRUCT(SignalBody, (), (signal, task))

}  // namespace tutti::cli
