#pragma once
// A slow walk over JSON text, for the cases where simdjson has no answer: where a node stands, and what exactly is
// wrong with text that it refused. Pure; depth limited by base/limits.h.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/document.h"

namespace tutti {

struct JsonNodePlace {
  DocPosition key;
  DocPosition value;
};
// Where value number `index` (in reading order, from 0) stands. Zero positions when there is no such value.
JsonNodePlace find_json_node(std::string_view text, uint32_t index);

struct JsonFault {
  DocPosition at;
  std::string message;  // "expected ',' or '}'"
};
// The first offence; none if the text is JSON (numbers out of range and raw control characters are offences).
std::optional<JsonFault> find_json_fault(std::string_view text);

DocPosition position_of(std::string_view text, size_t offset);

}  // namespace tutti
