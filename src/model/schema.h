#pragma once
// JSON Schema pieces that schemas_of() puts together (codec_impl.h). Pure; private to the codec.

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/codec.h"
#include "model/decoder.h"

namespace tutti::codec {

inline constexpr std::string_view kMillicoresSchema =
    R"({"oneOf":[{"type":"integer","minimum":0},{"type":"string","pattern":"^[0-9]+(\\.[0-9]+)?(m|c)$"}],)"
    R"("description":"millicores: 500, \"500m\" or \"1.5c\""})";
inline constexpr std::string_view kBytesSchema =
    R"({"oneOf":[{"type":"integer","minimum":0},{"type":"string","pattern":"^[0-9]+(\\.[0-9]+)?([kMGT]|[KMGT]i)?$"}],)"
    R"("description":"bytes: 1048576, \"256Mi\" or \"1G\""})";
inline constexpr std::string_view kDurationSchema =
    R"({"type":"string","pattern":"^([0-9]+(ns|us|ms|s|m|h|d))+$","description":"always with a unit: \"1h30m\""})";
inline constexpr std::string_view kTimeSchema = R"({"type":"string","description":"RFC 3339 in UTC; empty: never"})";
inline constexpr std::string_view kIdSchema =
    R"({"type":"string","pattern":"^([0-9a-hjkmnp-tv-z]{12})?$","description":"an id; empty: none"})";

std::string integer_schema(bool is_signed, size_t bytes);
std::string enum_schema(std::span<const EnumWord> words);

// The schemas gathered so far, in the order in which they were reached.
class SchemaSet {
 public:
  // True the first time: then put() must follow.
  bool enter(std::string name) { return names_.insert(std::move(name)).second; }
  void put(std::string name, std::string json) { all_.push_back({std::move(name), std::move(json)}); }
  std::vector<NamedSchema> take() && { return std::move(all_); }
  static std::string reference(std::string_view name);

 private:
  std::set<std::string> names_;
  std::vector<NamedSchema> all_;
};

class StructSchema {
 public:
  // `shown_default`: JSON; empty: none is shown.
  void add(std::string_view name, std::string schema, std::string_view shown_default);
  std::string json() const;

 private:
  std::string properties_;
};

}  // namespace tutti::codec
