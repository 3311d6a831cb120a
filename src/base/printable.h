#pragma once
// What strangers wrote, made harmless for a terminal. Pure.

#include <string>
#include <string_view>

namespace tutti {

// The length of the UTF-8 letter that the text begins with; 0: it begins with none.
size_t utf8_length(std::string_view text);
// Every control character (C0, DEL, C1) and every byte that is no UTF-8 becomes `instead`. Tabs and ends of lines stay
// where `lines` is set.
std::string printable(std::string_view text, char instead = '?', bool lines = false);

}  // namespace tutti
