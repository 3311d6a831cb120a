#include "model/codec_impl.h"
#include "model/job.h"

// Job files: which language one is written in is found out by looking, then all go the same way.

namespace tutti {
namespace {

enum class Language { json, yaml, hcl };

// HCL is told by its first word: `job "name" {`, after comments.
bool looks_like_hcl(std::string_view text) {
  while (true) {
    size_t start = text.find_first_not_of(" \t\r\n");
    if (start == std::string_view::npos) return false;
    text = text.substr(start);
    if (text.starts_with('#') || text.starts_with("//")) {
      size_t end = text.find('\n');
      if (end == std::string_view::npos) return false;
      text = text.substr(end);
    } else if (text.starts_with("/*")) {
      size_t end = text.find("*/");
      if (end == std::string_view::npos) return false;
      text = text.substr(end + 2);
    } else {
      break;
    }
  }
  if (!text.starts_with("job")) return false;
  text = text.substr(3);
  size_t next = text.find_first_not_of(" \t");
  return next != std::string_view::npos && (text[next] == '"' || text[next] == '{');
}

Language language_of(std::string_view text) {
  size_t start = text.find_first_not_of(" \t\r\n");
  if (start != std::string_view::npos && text[start] == '{') return Language::json;
  return looks_like_hcl(text) ? Language::hcl : Language::yaml;
}

Result<Document> read(std::string_view text) {
  switch (language_of(text)) {
    case Language::json: return parse_json_document(text);
    case Language::hcl: return parse_hcl_document(text);
    case Language::yaml: return parse_yaml_document(text);
  }
  return parse_yaml_document(text);
}

}  // namespace

Result<JobSpec> parse_job_file(std::string_view text, std::string_view file_name) {
  std::string what = file_name.empty() ? "job file" : "job file " + std::string(file_name);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Result<Document> document = read(text);
  if (document) document->friendly = true;
  return codec::decode_document<JobSpec>(std::move(document), {.what = what});
}

}  // namespace tutti
