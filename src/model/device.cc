#include "model/device.h"

#include <algorithm>
#include <numeric>

#include "base/time.h"

namespace tutti {
namespace {

// The device of least room that has enough, of those that are of the right kind; size() if there is none.
size_t tightest(const DeviceSpec& spec, const std::vector<Device>& devices, const std::vector<int64_t>& free) {
  size_t best = devices.size();
  for (size_t i = 0; i < devices.size(); ++i) {
    if (free[i] < spec.share || !will_do(devices[i], spec)) continue;
    if (best == devices.size() || free[i] < free[best]) best = i;
  }
  return best;
}

}  // namespace

bool will_do(const Device& device, const DeviceSpec& spec) {
  return device.kind == spec.kind && device.memory >= spec.memory &&
         (spec.models.empty() || std::ranges::find(spec.models, device.model) != spec.models.end());
}

std::string to_text(const DeviceSpec& spec) {
  std::string out = spec.share < kWholeDevice ? std::to_string(spec.share) + "/1000 of a " + spec.kind
                                              : std::to_string(spec.count) + " " + spec.kind;
  for (size_t i = 0; i < spec.models.size(); ++i) out += (i == 0 ? " of " : "|") + spec.models[i];
  if (spec.memory.value > 0) out += " with " + format_bytes(spec.memory);
  return out;
}

std::optional<std::vector<DeviceBinding>> choose_devices(const std::vector<DeviceAsk>& asks,
                                                         const std::vector<Device>& devices, std::vector<int64_t>& free,
                                                         std::optional<size_t> preferred) {
  std::vector<size_t> order(asks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  auto choice = [&](size_t i) {
    return std::ranges::count_if(devices, [&](const Device& d) { return will_do(d, asks[i].spec); });
  };
  if (asks.size() > 1) {
    std::ranges::sort(order, {}, [&](size_t i) { return std::tuple(choice(i), -asks[i].spec.share, i); });
  }
  const std::vector<int64_t> before = free;
  std::vector<std::vector<DeviceBinding>> chosen(asks.size());
  for (const size_t i : order) {
    const DeviceAsk& ask = asks[i];
    for (int64_t n = 0; n < ask.spec.count; ++n) {
      const bool as_preferred = preferred && *preferred < devices.size() && ask.spec.share < kWholeDevice &&
                                free[*preferred] >= ask.spec.share && will_do(devices[*preferred], ask.spec);
      const size_t device = as_preferred ? *preferred : tightest(ask.spec, devices, free);
      if (device == devices.size()) {
        free = before;
        return std::nullopt;
      }
      free[device] -= ask.spec.share;
      chosen[i].push_back({ask.task, devices[device].id, ask.spec.kind, ask.spec.share});
    }
  }
  std::vector<DeviceBinding> out;
  for (auto& each : chosen) std::ranges::move(each, std::back_inserter(out));
  return out;
}

bool as_asked(const std::vector<DeviceBinding>& bindings, const std::vector<DeviceAsk>& asks,
              const std::vector<Device>& devices) {
  size_t at = 0;
  for (const DeviceAsk& ask : asks) {
    for (int64_t n = 0; n < ask.spec.count; ++n, ++at) {
      if (at == bindings.size()) return false;
      const DeviceBinding& b = bindings[at];
      const auto device = std::ranges::find(devices, b.device, &Device::id);
      if (device == devices.end() || !will_do(*device, ask.spec)) return false;
      if (b.task != ask.task || b.kind != ask.spec.kind || b.share != ask.spec.share) return false;
    }
  }
  return at == bindings.size();
}

}  // namespace tutti
