#include "model/schema.h"

namespace tutti::codec {

std::string integer_schema(bool is_signed, size_t bytes) {
  if (bytes >= 8) return is_signed ? R"({"type":"integer"})" : R"({"type":"integer","minimum":0})";
  uint64_t values = uint64_t{1} << (bytes * 8);
  int64_t min = is_signed ? -static_cast<int64_t>(values / 2) : 0;
  uint64_t max = is_signed ? values / 2 - 1 : values - 1;
  return R"({"type":"integer","minimum":)" + std::to_string(min) + R"(,"maximum":)" + std::to_string(max) + "}";
}

std::string enum_schema(std::span<const EnumWord> words) {
  std::string out = R"({"type":"string","enum":[)";
  for (size_t i = 0; i < words.size(); ++i) {
    if (i != 0) out += ',';
    append_json_string(out, words[i].word);
  }
  return out + "]}";
}

std::string SchemaSet::reference(std::string_view name) {
  return R"({"$ref":"#/components/schemas/)" + std::string(name) + R"("})";
}

void StructSchema::add(std::string_view name, std::string schema, std::string_view shown_default) {
  if (!properties_.empty()) properties_ += ',';
  append_json_string(properties_, name);
  // The schema ends in '}': the default goes in front of it. Beside $ref, 2020-12 allows it.
  if (!shown_default.empty()) {
    schema.pop_back();
    schema += schema == "{" ? "" : ",";
    schema += R"("default":)" + std::string(shown_default) + "}";
  }
  properties_ += ":" + schema;
}

std::string StructSchema::json() const {
  return R"({"type":"object","additionalProperties":false,"properties":{)" + properties_ + "}}";
}

}  // namespace tutti::codec
