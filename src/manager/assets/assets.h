#pragma once
// Assets: the files that browsers are served, carried compressed inside the executable. Constant; thread-safe.

#include <optional>
#include <string>
#include <string_view>

namespace tutti::manager {

struct Asset {
  std::string_view gzip;        // the bytes, compressed
  std::string_view media_type;  // by the name's ending
};

// Of the page at /swagger/, by file name; nothing for any other name.
std::optional<Asset> find_asset(std::string_view name);
// For a client that did not say that it takes gzip.
std::string unpack(const Asset& asset);

}  // namespace tutti::manager
