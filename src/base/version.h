#pragma once
// What this program is: the version that the build was told (CMakeLists.txt), in one place.

#include <string_view>

namespace tutti {

std::string_view program_version();

}  // namespace tutti
