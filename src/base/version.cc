#include "base/version.h"

namespace tutti {

std::string_view program_version() {
  return TUTTI_VERSION;
}

}  // namespace tutti
