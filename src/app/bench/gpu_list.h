#pragma once
// The small GPU cluster of test/data/gpu, as CSV; CMake writes the definitions.

#include <string_view>

namespace tutti::app::bench {

extern const std::string_view kGpuNodes;
extern const std::string_view kGpuRequests;

}  // namespace tutti::app::bench
