#include "worker/gpus.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tutti::worker {
namespace {

TEST(Gpus, DeclaredDevicesAreNumberedByKind) {
  const auto devices = parse_devices("gpu:T4:16Gi*2,encoder,gpu:A100");
  ASSERT_TRUE(devices);
  ASSERT_EQ(devices->size(), 4u);
  EXPECT_EQ((*devices)[1], (Device{"gpu1", "gpu", "T4", {16LL << 30}}));
  EXPECT_EQ((*devices)[2], (Device{"encoder0", "encoder", "", {}}));
  EXPECT_EQ((*devices)[3], (Device{"gpu2", "gpu", "A100", {}}));
  EXPECT_TRUE(parse_devices("none")->empty());
  for (const char* wrong : {"gpu*0", "gpu*x", "a:b:c:d", "gpu:T4:much", "GPU card", "gpu*9999"})
    EXPECT_FALSE(parse_devices(wrong)) << wrong;
}

TEST(Gpus, ReadsWhatTheKernelDriverLists) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("tutti-gpus-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder / "0000:3b:00.0");
  std::filesystem::create_directories(folder / "0000:17:00.0");
  std::ofstream(folder / "0000:3b:00.0" / "information")
      << "Model: \t\t NVIDIA A100 80GB\nIRQ:   \t\t 42\nGPU UUID: \t GPU-1a\nDevice Minor: \t 1\n";
  std::ofstream(folder / "0000:17:00.0" / "information")
      << "Model: \t\t Tesla T4\nGPU UUID: \t GPU-????????\nDevice Minor: \t 0\n";
  const std::vector<Device> found = find_gpus(folder.string());
  std::filesystem::remove_all(folder);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], (Device{"nvidia0", "gpu", "T4", {}}));
  EXPECT_EQ(found[1], (Device{"GPU-1a", "gpu", "A100-80GB", {}}));
  EXPECT_TRUE(find_gpus(folder.string()).empty());
}

}  // namespace
}  // namespace tutti::worker
