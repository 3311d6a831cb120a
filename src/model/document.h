#pragma once
// Document: parsed text as a flat tape of nodes in reading order, with positions; what decoding walks.
//
// JSON (simdjson), YAML (yaml-cpp) and HCL (ours, job files only) all become this. A subtree is the range
// [i, nodes[i].next); the children of i start at i + 1 and each ends where its own `next` points. Limits: document
// bytes, depth and nodes of base/limits.h. Positions of JSON are found by scanning again, only when an error needs
// one. A Document owns every byte its nodes refer to; moving it keeps them valid. Not shared between threads
// while it is built.

#include <cstdint>
#include <forward_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tutti {

// plain: a YAML scalar without quotes, whose meaning the type it is decoded to decides.
enum class DocKind : uint8_t { null, boolean, integer, unsigned_integer, real, string, plain, list, map };

// Lines and columns count from 1; line 0: unknown.
struct DocPosition {
  uint32_t line = 0;
  uint32_t column = 0;
};

struct DocNode {
  DocKind kind = DocKind::null;
  uint32_t next = 0;   // the index after this subtree
  uint32_t count = 0;  // children
  DocPosition key_at;  // zero in JSON
  DocPosition at;
  std::string_view key;   // in a map
  std::string_view text;  // string, plain
  union {
    bool boolean;
    int64_t integer = 0;
    uint64_t unsigned_integer;  // above INT64_MAX only
    double real;
  };
};

class Document {
 public:
  const DocNode& operator[](uint32_t i) const { return nodes_[i]; }
  uint32_t size() const { return static_cast<uint32_t>(nodes_.size()); }
  DocPosition position(uint32_t node) const;
  DocPosition key_position(uint32_t node) const;
  // Written by people (job files): bare small quantities, likely meant in a larger unit, are refused.
  bool friendly = false;

 private:
  friend class DocumentBuilder;
  friend Result<Document> parse_json_document(std::string_view text);
  std::vector<DocNode> nodes_;
  std::forward_list<std::string> strings_;  // a list: its strings never move
  std::shared_ptr<void> parser_;            // simdjson's buffers, which JSON strings point into
  std::string source_;                      // JSON: for positions
};

Result<Document> parse_json_document(std::string_view text);
Result<Document> parse_yaml_document(std::string_view text);
// A job file in HCL; becomes the words of JobSpec.
Result<Document> parse_hcl_document(std::string_view text);

// Builds a tape front to back. open() and close() pair up; errors of limits stick and end in finish().
class DocumentBuilder {
 public:
  // The node's index. The returned reference of node() is valid until the next add.
  uint32_t add(DocKind kind);
  uint32_t open(DocKind kind);  // list or map
  void close();
  // The key of the next node added. Only inside a map.
  void key(std::string_view key, DocPosition at);
  void key_view(std::string_view key) { key_ = key; }  // refers to bytes that the document owns
  DocNode& node(uint32_t i) { return document_.nodes_[i]; }
  std::string_view keep(std::string text);
  uint32_t size() const { return document_.size(); }
  void reserve(size_t nodes) { document_.nodes_.reserve(nodes); }
  // A copy of a finished subtree as the next value (YAML aliases).
  void copy(uint32_t from);
  bool broken() const { return error_.has_value(); }
  std::optional<Error> error() const { return error_; }
  Result<Document> finish();
  Document& document() { return document_; }

 private:
  Document document_;
  std::vector<uint32_t> open_;
  std::string_view key_;
  DocPosition key_at_;
  std::optional<Error> error_;
};

// What every document must be: within kRequestBodyBytesMax, and UTF-8.
Status check_text(std::string_view text);

// "line 3, column 8"; empty when unknown.
std::string to_text(DocPosition at);

}  // namespace tutti
