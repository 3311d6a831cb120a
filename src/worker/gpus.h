#pragma once
// The GPUs of this machine: what NVIDIA's kernel driver lists under /proc/driver/nvidia/gpus, or what the worker's
// configuration declares instead. Blocking reads of a few small files; no library of a vendor is needed.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/device.h"

namespace tutti::worker {

inline constexpr std::string_view kNvidiaProc = "/proc/driver/nvidia/gpus";

// One folder per GPU with a file `information`; id is its UUID, else "nvidia" and its minor number. Memory is not
// listed there. In the order of their PCI addresses.
std::vector<Device> find_gpus(std::string_view folder);

// "gpu:T4:16Gi*2,encoder": kind[:model[:memory]][*count]. Ids are the kind and a running number: gpu0, gpu1, encoder0.
// "none": an empty list.
Result<std::vector<Device>> parse_devices(std::string_view text);

}  // namespace tutti::worker
