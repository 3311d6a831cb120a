#pragma once
// The one codec: every described struct to and from JSON, and from YAML.
//
// Text becomes a Document (model/document.h: a flat tape with positions; JSON by simdjson, YAML by yaml-cpp, HCL by
// ours), and a Document is decoded by reflection over Boost.Describe. Decoding is strict: unknown and duplicate
// keys, wrong types and out-of-range numbers are refused with path, line and column and the nearest right word.
// Encoding writes members in their described order; enum words lose a trailing '_', and '_' inside a word is
// written '-' (on_failure ↔ "on-failure"; both are read). Ids are their 12-letter text, Time RFC 3339,
// Duration "30s", Millicores and Bytes integers, shared_ptr<const T> the T, std::optional absent or the T.
// Pure and thread-safe. Instantiated for the types of codec_types.inc only, so that headers stay cheap.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tutti {

struct DecodeOptions {
  bool allow_unknown =
      false;  // and null for any member; only for formats that are other people's (OCI) or stored rows of a newer minor
  std::string_view what;  // "job file shop.yaml": stands in front of every error
};

struct EncodeOptions {
  bool omit_defaults = false;  // members equal to those of T{} are left out: rows, session
  bool pretty = false;         // two spaces; for people and golden files
};

template <class T>
Result<T> from_json(std::string_view text, DecodeOptions options = {});
template <class T>
Result<T> from_yaml(std::string_view text, DecodeOptions options = {});
template <class T>
std::string to_json(const T& value, EncodeOptions options = {});
// Appends instead of returning: what loops over rows uses.
template <class T>
void append_json(std::string& out, const T& value, EncodeOptions options = {});

// A job file: YAML, JSON (first non-space is '{') or HCL (`job "name" {`), found out by looking.
struct JobSpec;
Result<JobSpec> parse_job_file(std::string_view text, std::string_view file_name);

// Any JSON text as YAML for people ("-o yaml"), members in order.
Result<std::string> json_to_yaml(std::string_view json);

// The JSON Schema (draft 2020-12) of a described type, from the same description: name → schema text for T and
// every described struct and enum it reaches. What OpenAPI and the editor schema are made of.
struct NamedSchema {
  std::string name;
  std::string json;
};
template <class T>
std::vector<NamedSchema> schemas_of();

// A member that holds JSON text as it is: lists of rows that were encoded before, free-form parts. Empty text is null.
struct RawJson {
  std::string text;
  bool operator==(const RawJson&) const = default;
};

// JSON string escaping, with the quotes. For the few places that write JSON by hand.
void append_json_string(std::string& out, std::string_view text);

}  // namespace tutti
