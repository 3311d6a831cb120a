// Layer archives: nothing outside the directory is touched, limits hold, whatever the archive says.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "fuzz.h"
#include "sys/archive.h"

using namespace tutti;
namespace fs = std::filesystem;

namespace {

// outside/ stands beside the directory that is unpacked into, with one file that must stay as it is.
struct Place {
  std::string root;
  std::string into;
  Place() {
    const char* folder = std::getenv("TMPDIR");
    root = std::string(folder != nullptr ? folder : "/tmp") + "/tutti-fuzz-XXXXXX";
    if (mkdtemp(root.data()) == nullptr) fuzz::broken("no folder to unpack into");
    into = root + "/in/to";
    fs::create_directories(into);
    fs::create_directory(root + "/outside");
    if (FILE* file = std::fopen((root + "/outside/secret").c_str(), "w")) {
      std::fputs("secret", file);
      std::fclose(file);
    }
  }
  ~Place() {
    std::error_code ignored;
    fs::remove_all(root, ignored);
  }
  void check() const {
    size_t entries = 0;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.path().string().starts_with(into + "/")) continue;
      ++entries;
    }
    struct stat info = {};
    if (entries != 4 || stat((root + "/outside/secret").c_str(), &info) != 0 || info.st_size != 6 || info.st_nlink != 1)
      fuzz::broken("something outside was touched");
  }
  void clear() const {
    fs::permissions(into, fs::perms::owner_all);
    for (const auto& entry : fs::directory_iterator(into)) fs::remove_all(entry.path());
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Place place;
  size_t at = 0;
  auto source = [&](std::span<char> buffer) -> Result<size_t> {
    const size_t most = std::min(buffer.size(), size - at);
    std::memcpy(buffer.data(), data + at, most);
    at += most;
    return most;
  };
  sys::ExtractOptions options;
  options.whiteouts = true;
  options.bytes_max = 1 << 20;
  options.entries_max = 200;
  if (auto out = sys::extract_tar(source, place.into, options)) {
    if (out->bytes > options.bytes_max || out->entries > options.entries_max) fuzz::broken("above its limits");
  }
  place.check();
  place.clear();
  return 0;
}
