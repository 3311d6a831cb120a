#include "model/ids.h"

#include <charconv>

namespace tutti {

std::string to_text(Cursor cursor) {
  return std::to_string(cursor.epoch) + ":" + std::to_string(cursor.revision.value);
}

Result<Cursor> parse_cursor(std::string_view text) {
  auto number = [](std::string_view digits, uint64_t& out) {
    auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return code == std::errc() && end == digits.data() + digits.size();
  };
  Cursor cursor;
  size_t colon = text.find(':');
  if (colon == std::string_view::npos || !number(text.substr(0, colon), cursor.epoch) ||
      !number(text.substr(colon + 1), cursor.revision.value)) {
    return fail(ErrorCode::invalid,
                "not a cursor: \"" + std::string(text.substr(0, 60)) + "\": expected epoch:revision, like 1:42");
  }
  return cursor;
}

}  // namespace tutti
