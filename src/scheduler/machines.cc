#include "scheduler/machines.h"

#include <algorithm>

namespace tutti::scheduler {
namespace {

std::vector<DeviceSpec> first_gpu(const Request& request) {
  for (const DeviceAsk& ask : request.devices)
    if (ask.spec.kind == "gpu") return {ask.spec};
  return {};
}

int64_t sum_of(const Machine& machine) {
  int64_t out = 0;
  for (size_t i = 0; i < machine.gpus; ++i) out += machine.free[i];
  return out;
}

}  // namespace

void Machines::clear() {
  needed_ = false;
  fleet_ = {};
  now_.clear(), gpu_ids_.clear(), versions_.clear(), costs_.clear();
  valuation_.reset();
  all_ = free_ = 0;
}

void Machines::begin(const Snapshot& snapshot) {
  if (needed_) return;
  needed_ = true;
  uint32_t index = 0;
  snapshot.nodes.for_each([&](uint64_t, const Node& node) { set(snapshot, index++, node); });
  begin_round();
}

void Machines::set(const Snapshot& snapshot, uint32_t index, const Node& node) {
  if (index == now_.size()) {
    now_.emplace_back(), fleet_.machines.emplace_back(), gpu_ids_.emplace_back(), versions_.push_back(1);
  }
  all_ -= sum_of(fleet_.machines[index]), free_ -= sum_of(now_[index]);
  if (valuation_) valuation_->count(now_[index], -1);
  Machine idle;
  const Resources all = allocatable(node);
  idle.cpu = all.cpu.value, idle.memory = all.memory.value;
  std::vector<std::string>& ids = gpu_ids_[index];
  ids.clear();
  if (node.inventory) {
    for (const Device& device : node.inventory->devices) {
      if (device.kind != "gpu" || idle.gpus == kGpusMax) continue;
      idle.kind[idle.gpus] = kind_number(fleet_.kinds, device);
      idle.free[idle.gpus++] = static_cast<int16_t>(kWholeDevice);
      ids.push_back(device.id);
    }
  }
  idle.shape = shape_number(fleet_.shapes, idle, fleet_.kinds);
  Machine& now = now_[index] = idle;
  fleet_.machines[index] = idle;
  const NodeUsage& usage = snapshot.usage_of(node.id);
  now.cpu -= usage.used.cpu.value, now.memory -= usage.used.memory.value;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto at = usage.devices.find(ids[i]);
    if (at != usage.devices.end()) now.free[i] = static_cast<int16_t>(now.free[i] - at->second);
  }
  all_ += sum_of(idle), free_ += sum_of(now);
  if (valuation_) valuation_->count(now, 1);
  ++versions_[index];
}

void Machines::take(uint32_t index, const Resources& resources, const std::vector<DeviceBinding>& devices, int sign) {
  Machine& now = now_[index];
  if (valuation_) valuation_->count(now, -1);
  now.cpu -= sign * resources.cpu.value, now.memory -= sign * resources.memory.value;
  const std::vector<std::string>& ids = gpu_ids_[index];
  for (const DeviceBinding& binding : devices) {
    const auto at = std::ranges::find(ids, binding.device);
    if (at == ids.end()) continue;
    int16_t& free = now.free[static_cast<size_t>(at - ids.begin())];
    free = static_cast<int16_t>(free - sign * binding.share);
    free_ -= sign * binding.share;
  }
  if (valuation_) valuation_->count(now, 1);
  ++versions_[index];
}

void Machines::count(const Request& request) {
  Wanted wanted{request.resources, first_gpu(request), 0};
  std::string key = std::to_string(wanted.resources.cpu.value) + " " + std::to_string(wanted.resources.memory.value);
  if (!wanted.gpu.empty())
    key += " " + std::to_string(wanted.gpu[0].memory.value) + " " + std::to_string(wanted.gpu[0].share) + " " +
           to_text(wanted.gpu[0]);
  const auto [at, fresh] = seen_.try_emplace(std::move(key), std::move(wanted));
  ++at->second.weight;
  if (++seen_total_ < kSeenMax) return;
  seen_total_ = 0;
  for (auto each = seen_.begin(); each != seen_.end();) {
    each->second.weight /= 2;
    seen_total_ += each->second.weight;
    each = each->second.weight == 0 ? seen_.erase(each) : std::next(each);
  }
  valued_at_ = std::min(valued_at_, seen_total_);
}

void Machines::forget_seen() {
  seen_.clear();
  seen_total_ = valued_at_ = 0;
}

Workload Machines::seen() const {
  Workload out;
  for (const auto& [key, wanted] : seen_) out.push_back(wanted);
  return out;
}

void Machines::use(std::shared_ptr<const Learned> learned) {
  learned_ = std::move(learned);
  valuation_.reset();
}

void Machines::make_valuation() {
  valued_at_ = seen_total_;
  shapes_at_ = fleet_.shapes.size(), kinds_at_ = fleet_.kinds.size();
  valuation_ = std::make_unique<Valuation>(typical_of(learned_ ? learned_->workload : seen(), fleet_.kinds),
                                           learned_ && learned_->useful ? learned_ : nullptr, fleet_);
  for (const Machine& machine : now_) valuation_->count(machine, 1);
  phase_ = -1;
  costs_.clear();  // the kinds that will do may be others
}

void Machines::begin_round() {
  if (!needed_) return;
  const bool seen_more = !learned_ && seen_total_ * 4 > valued_at_ * 5;
  if (!valuation_ || seen_more || shapes_at_ != fleet_.shapes.size() || kinds_at_ != fleet_.kinds.size())
    make_valuation();
  if (costs_.size() > kRequestsMax) costs_.clear();
  const int phase = phase_of(free_, all_);
  if (!valuation_->reprice(free_) && phase == phase_) return;
  phase_ = phase;
  // FGD does not look at it.
  if (valuation_->learned()) costs_.clear();
}

Machines::Costs& Machines::costs_of(const std::string& shape, const Request& request) {
  Costs& out = costs_[shape];
  if (out.known.empty()) {
    out.task = task_of(request.resources, first_gpu(request), fleet_.kinds);
    out.known.resize(now_.size());
  }
  return out;
}

const Valuation::Choice& Machines::cost(Costs& costs, uint32_t index) {
  Costs::Known& known = costs.known[index];
  if (known.version != versions_[index]) known = {versions_[index], valuation_->best(now_[index], costs.task, phase_)};
  return known.choice;
}

size_t Machines::device_of(const Costs& costs, uint32_t index) const {
  return costs.known[index].choice.gpu;
}

}  // namespace tutti::scheduler
