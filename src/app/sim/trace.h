#pragma once
// Trace: the machines and the requests of a cluster, read from two CSV files in the columns of Alibaba's
// cluster-trace-gpu-v2023. Blocking reads; everything is checked, and what is wrong is named by file, line and column.
//
//   machines  cpu_milli, memory_mib, gpu, model
//   requests  cpu_milli, memory_mib, num_gpu, gpu_milli, and gpu_spec if it is there ("T4|V100M16": one of these)
// Further columns are not looked at. gpu_milli is the share of one GPU where num_gpu is 1; more are taken whole.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/device.h"
#include "model/resources.h"

namespace tutti::app {

struct TraceNode {
  Resources capacity;
  int64_t gpus = 0;
  std::string model;
};

struct TraceRequest {
  Resources resources;
  std::vector<DeviceSpec> gpu;  // one, or none
  int64_t thousandths() const { return gpu.empty() ? 0 : gpu[0].count * gpu[0].share; }
  bool operator==(const TraceRequest&) const = default;
};

// Each request once, and the list as numbers of them.
struct Trace {
  std::vector<TraceNode> nodes;  // with GPUs
  std::vector<TraceRequest> requests;
  std::vector<uint32_t> list;
  int64_t capacity = 0;  // thousandths of all GPUs
};
Result<Trace> read_trace(const std::string& nodes_file, const std::string& requests_file);
Result<Trace> parse_trace(std::string_view nodes, const std::string& nodes_file, std::string_view requests,
                          const std::string& requests_file);

}  // namespace tutti::app
