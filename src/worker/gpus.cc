#include "worker/gpus.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>

#include "base/limits.h"
#include "base/text.h"
#include "base/time.h"
#include "model/values.h"
#include "sys/file.h"

namespace tutti::worker {
namespace {

// "Model:\t\t Tesla T4" of a file of such lines.
std::string value_of(const std::string& text, std::string_view key) {
  for (const std::string& line : split(text, '\n')) {
    if (!line.starts_with(key) || line.size() == key.size() || line[key.size()] != ':') continue;
    return std::string(trim(std::string_view(line).substr(key.size() + 1)));
  }
  return {};
}

// "NVIDIA A100-SXM4-80GB" and "Tesla T4" are asked for as A100-SXM4-80GB and T4.
std::string model_of(std::string name) {
  for (const std::string_view maker : {"NVIDIA ", "Tesla ", "GeForce "})
    if (name.starts_with(maker)) name.erase(0, maker.size());
  std::ranges::replace(name, ' ', '-');
  return name;
}

Error not_a_device(const std::string& part, const std::string& why) {
  return {ErrorCode::invalid,
          "devices: '" + part + "' " + why + ": write kind:model:memory*count, as gpu:T4:16Gi*2",
          {},
          0};
}

}  // namespace

std::vector<Device> find_gpus(std::string_view folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename());
  std::ranges::sort(names);
  std::vector<Device> out;
  for (const std::string& name : names) {
    const std::string text = sys::read_file(std::string(folder) + "/" + name + "/information").value_or("");
    if (text.empty() || out.size() == limits::kDevicesMax) continue;
    Device device{value_of(text, "GPU UUID"), "gpu", model_of(value_of(text, "Model")), {}};
    // A UUID full of question marks is one that was never read from the card.
    if (device.id.empty() || device.id.find('?') != std::string::npos)
      device.id = "nvidia" + value_of(text, "Device Minor");
    out.push_back(std::move(device));
  }
  return out;
}

Result<std::vector<Device>> parse_devices(std::string_view text) {
  std::vector<Device> out;
  if (text == "none") return out;
  std::map<std::string, int> known;
  for (const std::string& part : split(text, ',')) {
    if (part.empty()) continue;
    int64_t count = 1;
    const size_t star = part.rfind('*');
    if (star != std::string::npos) {
      const char* end = part.data() + part.size();
      const auto [at, failed] = std::from_chars(part.data() + star + 1, end, count);
      if (failed != std::errc{} || at != end || count < 1)
        return tl::unexpected(not_a_device(part, "has no count behind '*'"));
    }
    const std::vector<std::string> words = split(std::string_view(part).substr(0, star), ':');
    if (words.size() > 3 || !is_name(words[0])) return tl::unexpected(not_a_device(part, "is not a device"));
    Device device{"", words[0], words.size() > 1 ? words[1] : "", {}};
    if (words.size() > 2) {
      auto memory = parse_bytes(words[2]);
      if (!memory) return tl::unexpected(not_a_device(part, "has a memory of '" + words[2] + "'"));
      device.memory = *memory;
    }
    if (out.size() + static_cast<size_t>(count) > limits::kDevicesMax)
      return fail(ErrorCode::too_large,
                  "devices: more than " + std::to_string(limits::kDevicesMax) + " on a node (kDevicesMax)");
    for (; count > 0; --count) {
      device.id = device.kind + std::to_string(known[device.kind]++);
      out.push_back(device);
    }
  }
  return out;
}

}  // namespace tutti::worker
