#include "base/printable.h"

namespace tutti {

size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80                    ? 1
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                        : lead >= 0xE0 && lead < 0xF0  ? 3
                        : lead >= 0xC2 && lead < 0xE0  ? 2
                                                       : 0;
  if (text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  if (length < 3) return length;
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F)) return 0;  // overlong, surrogates
  if ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)) return 0;
  return length;
}

std::string printable(std::string_view text, char instead, bool lines) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const auto c = static_cast<unsigned char>(text[0]);
    const bool stays = lines && (c == '\n' || c == '\t');
    const bool control = length == 0 || (length == 1 && (c < ' ' || c == 0x7f)) ||
                         (length == 2 && c == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0);
    if (control && !stays)
      out += instead;
    else
      out += text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

}  // namespace tutti
