#include "manager/assets/assets.h"

#include <zlib.h>

#include <cstdint>
#include <cstring>

namespace {
struct EmbeddedAsset {
  const char* name;
  const char* begin;
  const char* end;
};
}  // namespace
// The table that CMakeLists.txt writes; ends with a null name.
extern "C" const EmbeddedAsset tutti_assets[];  // NOLINT(modernize-avoid-c-arrays): its size is the assembler's

namespace tutti::manager {
namespace {

std::string_view media_type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".png")) return "image/png";
  return "application/octet-stream";
}

}  // namespace

std::optional<Asset> find_asset(std::string_view name) {
  for (const EmbeddedAsset* asset = tutti_assets; asset->name != nullptr; ++asset) {
    if (name == asset->name)
      return Asset{{asset->begin, static_cast<size_t>(asset->end - asset->begin)}, media_type_of(name)};
  }
  return std::nullopt;
}

std::string unpack(const Asset& asset) {
  // A gzip file ends with the size of what it holds, in 32 bits, little end first.
  uint32_t size = 0;
  std::memcpy(&size, asset.gzip.data() + asset.gzip.size() - sizeof size, sizeof size);
  std::string out(size, '\0');
  z_stream stream = {};
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(asset.gzip.data()));
  stream.avail_in = static_cast<uInt>(asset.gzip.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = size;
  constexpr int kGzip = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzip) != Z_OK) return {};
  const int result = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return result == Z_STREAM_END ? out : std::string();
}

}  // namespace tutti::manager
