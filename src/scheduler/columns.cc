#include "scheduler/columns.h"

#include <algorithm>

namespace tutti::scheduler {
namespace {

int32_t clamp32(int64_t value) {
  return static_cast<int32_t>(std::clamp<int64_t>(value, -1, INT32_MAX));
}
int32_t up(int64_t free, int64_t unit) {
  return free < 0 ? -1 : clamp32((free + unit - 1) / unit);
}
int32_t down(int64_t asked, int64_t unit) {
  return clamp32(asked / unit);
}

// Whatever is free, and without ports: those depend on the moment.
Request lasting(const Request& request) {
  Request out = request;
  out.resources = {};
  out.ports.clear();
  out.pinned = out.home = {};
  return out;
}

bool lastingly_fits(const Snapshot& snapshot, const Request& request, const Node& node) {
  return !check_lasting(snapshot, request, node);
}

bool meets(const std::string& constraint, const Node& node) {
  const auto parsed = Constraint::parse(constraint);
  return parsed && node.inventory && parsed->matches([&](std::string_view key) { return node_attribute(node, key); });
}

uint32_t value_index(AttributeColumn& column, const std::string& key, const Node& node) {
  std::string value = node.inventory ? node_attribute(node, key).value_or("") : "";
  const auto [at, fresh] = column.index.try_emplace(value, static_cast<uint32_t>(column.values.size()));
  if (fresh) column.values.push_back(std::move(value));
  return at->second;
}

}  // namespace

void set_bit(Mask& mask, uint32_t index, bool on) {
  const uint64_t bit = uint64_t{1} << (index % 64);
  if (on)
    mask[index / 64] |= bit;
  else
    mask[index / 64] &= ~bit;
}

void keep_only(Mask& mask, const Columns& columns, NodeId node) {
  const uint32_t index = columns.index_of(node);
  const bool among = index < columns.size() && has(mask, index);
  std::fill(mask.begin(), mask.end(), 0);
  if (among) set_bit(mask, index, true);
}

int32_t weight_of_images(const Node& node, const std::vector<std::string>& digests) {
  int32_t out = 0;
  if (node.images == nullptr) return out;
  for (const HeldImage& image : node.images->held)
    if (std::find(digests.begin(), digests.end(), image.digest) != digests.end())
      out += image_weight(image.bytes.value);
  return std::min(out, kImageWeightMax);
}

void Columns::rebuild(const Snapshot& snapshot) {
  ids_.clear();
  kinds_.clear();
  matching_.clear();
  attributes_.clear();
  images_.clear();
  taken_.clear();
  taken_devices_.clear();
  const bool with_machines = machines_.needed();
  machines_.clear();
  snapshot.nodes.for_each([&](uint64_t id, const Node&) { ids_.push_back(NodeId{id}); });
  const size_t padded = words() * 64;
  all_.assign(ids_.size(), {});
  free_.assign(ids_.size(), {});
  instances_.assign(ids_.size(), 0);
  for (auto* column : {&cpu_, &memory_, &disk_}) column->assign(padded, -1);
  for (FamilyColumns& family : families_) family = {};
  uint32_t i = 0;
  snapshot.nodes.for_each([&](uint64_t, const Node& node) { set(i, node, snapshot.usage_of(node.id)), ++i; });
  measure_pool();
  if (with_machines) machines_.begin(snapshot);
}

bool Columns::follow(const ChangeSet& changes, std::vector<uint32_t>& touched) {
  bool capacities = false;
  for (const RowChange& row : changes.rows) {
    if (row.table == TableId::instance) {
      const Instance* before = changes.before->instances.find(row.id);
      const Instance* after = changes.after->instances.find(row.id);
      for (const Instance* each : {before, after})
        if (each != nullptr && each->node) touched.push_back(index_of(each->node));
    }
    if (row.table != TableId::node) continue;
    const Node* node = changes.after->nodes.find(row.id);
    const uint32_t index = index_of(NodeId{row.id});
    if (node == nullptr || index == size()) return false;
    touched.push_back(index);
    capacities = capacities || !(allocatable(*node) == all_[index]);
    update_node(*changes.after, index, *node);
  }
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  while (!touched.empty() && touched.back() >= size()) touched.pop_back();
  for (const uint32_t index : touched) {
    const Node& node = *changes.after->nodes.find(ids_[index].value);
    set(index, node, changes.after->usage_of(ids_[index]));
    if (machines_.needed()) machines_.set(*changes.after, index, node);
  }
  if (capacities) measure_pool();
  return true;
}

void Columns::update_node(const Snapshot& snapshot, uint32_t index, const Node& node) {
  for (auto& [key, kind] : kinds_) set_bit(kind.mask, index, lastingly_fits(snapshot, kind.request, node));
  for (auto& [constraint, mask] : matching_) set_bit(mask, index, meets(constraint, node));
  for (auto& [digests, weights] : images_) weights[index] = static_cast<uint8_t>(weight_of_images(node, digests));
  for (auto& [key, column] : attributes_) column.value_of[index] = value_index(column, key, node);
}

uint32_t Columns::index_of(NodeId node) const {
  const auto at = std::lower_bound(ids_.begin(), ids_.end(), node);
  return static_cast<uint32_t>(at != ids_.end() && *at == node ? at - ids_.begin()
                                                               : static_cast<std::ptrdiff_t>(ids_.size()));
}

void Columns::set(uint32_t index, const Node& node, const NodeUsage& usage) {
  all_[index] = allocatable(node);
  free_[index] = all_[index] - usage.used;
  instances_[index] = usage.instances;
  refresh(index);
}

void Columns::refresh(uint32_t index) {
  const Resources& free = free_[index];
  cpu_[index] = clamp32(free.cpu.value);
  memory_[index] = up(free.memory.value, kMemoryUnit);
  disk_[index] = up(free.disk.value, kDiskUnit);
  for (size_t i = 0; i < kFamilies; ++i) {
    if (!families_[i].needed) continue;
    const Factors factors = node_factors(static_cast<Family>(i), free, all_[index], scale_, instances_[index]);
    families_[i].ab[index] = factors.ab;
    families_[i].cd[index] = factors.cd;
  }
}

void Columns::measure_pool() {
  Resources largest;
  total_ = {};
  for (const Resources& all : all_) {
    total_ += all;
    largest.cpu = std::max(largest.cpu, all.cpu);
    largest.memory = std::max(largest.memory, all.memory);
  }
  if (scale_.largest == largest) return;
  scale_.largest = largest;
  for (uint32_t i = 0; i < size(); ++i) refresh(i);
}

void Columns::measure_by(int32_t mix) {
  if (scale_.mix == mix) return;
  scale_.mix = mix;
  for (uint32_t i = 0; i < size(); ++i) refresh(i);
}

void Columns::take(uint32_t index, const Resources& resources, const std::vector<DeviceBinding>& devices) {
  if (!devices.empty()) taken_devices_.emplace_back(taken_.size(), devices);
  if (machines_.needed()) machines_.take(index, resources, devices, 1);
  taken_.emplace_back(index, resources);
  free_[index] -= resources;
  ++instances_[index];
  refresh(index);
}

void Columns::need_machines(const Snapshot& snapshot) {
  if (machines_.needed()) return;
  machines_.begin(snapshot);
  for (const auto& [index, resources] : taken_) machines_.take(index, resources, {}, 1);
  for (const auto& [number, devices] : taken_devices_) machines_.take(taken_[number].first, {}, devices, 1);
}

void Columns::undo(size_t left) {
  if (machines_.needed()) {
    for (size_t i = left; i < taken_.size(); ++i) machines_.take(taken_[i].first, taken_[i].second, {}, -1);
    for (const auto& [number, devices] : taken_devices_)
      if (number >= left) machines_.take(taken_[number].first, {}, devices, -1);
  }
  while (!taken_devices_.empty() && taken_devices_.back().first >= left) taken_devices_.pop_back();
  for (size_t i = left; i < taken_.size(); ++i) {
    free_[taken_[i].first] += taken_[i].second;
    --instances_[taken_[i].first];
  }
  for (size_t i = left; i < taken_.size(); ++i)
    if (i == left || taken_[i].first != taken_[i - 1].first) refresh(taken_[i].first);
  taken_.resize(left);
}

const Mask& Columns::mask_of(const Snapshot& snapshot, const Request& request, const std::string& key) {
  const auto known = kinds_.find(key);
  if (known != kinds_.end()) return known->second.mask;
  if (kinds_.size() >= kMasksMax) kinds_.clear();
  Kind kind{lasting(request), Mask(words(), 0)};
  uint32_t i = 0;
  snapshot.nodes.for_each([&](uint64_t, const Node& node) {
    if (lastingly_fits(snapshot, kind.request, node)) set_bit(kind.mask, i, true);
    ++i;
  });
  return kinds_.emplace(key, std::move(kind)).first->second.mask;
}

const Mask& Columns::matching(const Snapshot& snapshot, const std::string& constraint) {
  if (const auto known = matching_.find(constraint); known != matching_.end()) return known->second;
  if (matching_.size() >= kMasksMax) matching_.clear();
  Mask mask(words(), 0);
  uint32_t i = 0;
  snapshot.nodes.for_each([&](uint64_t, const Node& node) { set_bit(mask, i, meets(constraint, node)), ++i; });
  return matching_.emplace(constraint, std::move(mask)).first->second;
}

const AttributeColumn& Columns::attribute(const Snapshot& snapshot, const std::string& key) {
  if (const auto known = attributes_.find(key); known != attributes_.end()) return known->second;
  if (attributes_.size() >= kMasksMax) attributes_.clear();
  AttributeColumn column;
  column.value_of.reserve(size());
  snapshot.nodes.for_each(
      [&](uint64_t, const Node& node) { column.value_of.push_back(value_index(column, key, node)); });
  return attributes_.emplace(key, std::move(column)).first->second;
}

const std::vector<uint8_t>& Columns::images(const Snapshot& snapshot, const std::vector<std::string>& digests) {
  if (const auto known = images_.find(digests); known != images_.end()) return known->second;
  if (images_.size() >= kMasksMax) images_.clear();
  std::vector<uint8_t> weights;
  weights.reserve(size());
  snapshot.nodes.for_each(
      [&](uint64_t, const Node& node) { weights.push_back(static_cast<uint8_t>(weight_of_images(node, digests))); });
  return images_.emplace(digests, std::move(weights)).first->second;
}

ScanRequest Columns::scan_request(const Resources& asked, PlacementPolicy policy) const {
  const Factors factors = request_factors(policy, asked, scale_);
  return {.cpu = clamp32(asked.cpu.value),
          .memory = down(asked.memory.value, kMemoryUnit),
          .disk = down(asked.disk.value, kDiskUnit),
          .ab = factors.ab,
          .cd = factors.cd,
          .flip = flip_of(policy)};
}

void Columns::need(Family family) {
  const auto i = static_cast<size_t>(family);
  FamilyColumns& columns = families_[i < kFamilies ? i : 0];  // greedy reads any, and multiplies it by nothing
  if (columns.needed) return;
  columns.needed = true;
  columns.ab.assign(words() * 64, 0);
  columns.cd.assign(words() * 64, 0);
  for (uint32_t node = 0; node < size(); ++node) refresh(node);
}

ScanColumns Columns::view(Family family) const {
  const auto i = static_cast<size_t>(family);
  const FamilyColumns& columns = families_[i < kFamilies ? i : 0];
  return {columns.ab.data(), columns.cd.data(), cpu_.data(), memory_.data(), disk_.data(), nullptr, words()};
}

}  // namespace tutti::scheduler
