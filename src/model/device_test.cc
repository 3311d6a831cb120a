#include "model/device.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

DeviceAsk ask(int64_t count, int64_t share, std::vector<std::string> models = {}) {
  return {"main", {"gpu", count, share, std::move(models), {}}};
}

TEST(Device, SharesGoToTheFullestAndWholeOnesAreIdle) {
  const std::vector<Device> devices{{"a", "gpu", "T4", {}}, {"b", "gpu", "T4", {}}, {"c", "gpu", "T4", {}}};
  std::vector<int64_t> free{1'000, 600, 470};
  const auto share = choose_devices({ask(1, 470)}, devices, free);
  ASSERT_TRUE(share);
  EXPECT_EQ((*share)[0].device, "c");
  EXPECT_EQ(free[2], 0);
  EXPECT_FALSE(choose_devices({ask(2, 1'000)}, devices, free));
  EXPECT_EQ(free, (std::vector<int64_t>{1'000, 600, 0}));  // as it was
  EXPECT_EQ(choose_devices({ask(1, 1'000)}, devices, free)->front().device, "a");
}

TEST(Device, WhatFewWillDoForChoosesFirst) {
  const std::vector<Device> devices{{"a", "gpu", "A100", {}}, {"b", "gpu", "T4", {}}};
  std::vector<int64_t> free{1'000, 1'000};
  const std::vector<DeviceAsk> asks{ask(1, 1'000), ask(1, 1'000, {"A100"})};
  const auto chosen = choose_devices(asks, devices, free);
  ASSERT_TRUE(chosen);
  EXPECT_EQ((*chosen)[0].device, "b");  // in the order of the asks
  EXPECT_EQ((*chosen)[1].device, "a");
  EXPECT_TRUE(as_asked(*chosen, asks, devices));
  std::vector<DeviceBinding> swapped{(*chosen)[1], (*chosen)[0]};
  EXPECT_FALSE(as_asked(swapped, asks, devices));
  swapped.pop_back();
  EXPECT_FALSE(as_asked(swapped, asks, devices));
}

TEST(Device, ModelKindAndMemoryDecide) {
  const Device card{"a", "gpu", "T4", {16LL << 30}};
  EXPECT_TRUE(will_do(card, {"gpu", 1, 1'000, {"A10", "T4"}, {16LL << 30}}));
  EXPECT_FALSE(will_do(card, {"gpu", 1, 1'000, {"A10"}, {}}));
  EXPECT_FALSE(will_do(card, {"gpu", 1, 1'000, {}, {24LL << 30}}));
  EXPECT_FALSE(will_do(card, {"encoder", 1, 1'000, {}, {}}));
  EXPECT_EQ(to_text(DeviceSpec{"gpu", 2, 1'000, {"T4", "A10"}, {16LL << 30}}), "2 gpu of T4|A10 with 16Gi");
}

}  // namespace
}  // namespace tutti
