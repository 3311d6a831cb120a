#pragma once
// Decoder: walks a Document and gathers what is wrong with it. The part of the codec that is not a template.
//
// Private to the codec (codec_impl.h). Paths are chained frames on the stack, so that nothing is allocated until
// something is wrong. At most kErrorsMax errors are kept. One Decoder per document, one thread.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/codec.h"
#include "model/document.h"
#include "model/ids.h"
#include "model/values.h"

namespace tutti::codec {

struct EnumWord {
  std::string word;
  int64_t value = 0;
};

class Decoder;
class Encoder;

// One member of a described struct, as functions over its bytes.
struct Member {
  std::string_view name;
  void (*decode)(Decoder& decoder, uint32_t at, void* object);
  void (*encode)(Encoder& encoder, const void* object, const void* defaults);
  // Whether it is left out: absent (optional, null pointer), or equal to the default where `omit_defaults`.
  bool (*left_out)(const void* object, const void* defaults, bool omit_defaults);
};

class Decoder {
 public:
  static constexpr size_t kErrorsMax = 10;

  Decoder(const Document& document, DecodeOptions options) : document_(document), options_(options) {}

  const DocNode& node(uint32_t at) const { return document_[at]; }
  bool broken() const { return !errors_.empty() || more_; }
  Error error() const;

  void read(uint32_t at, bool& out);
  void read(uint32_t at, double& out);
  void read(uint32_t at, std::string& out);
  void read(uint32_t at, Millicores& out);
  void read(uint32_t at, Bytes& out);
  void read(uint32_t at, Duration& out);
  void read(uint32_t at, Time& out);
  void read_raw(uint32_t at, std::string& out);  // appends the subtree as JSON
  int64_t read_integer(uint32_t at, int64_t min, int64_t max, int64_t fallback);
  uint64_t read_unsigned(uint32_t at, uint64_t max, uint64_t fallback);
  uint64_t read_id(uint32_t at);
  int64_t read_enum(uint32_t at, std::span<const EnumWord> words, int64_t fallback);
  void read_struct(uint32_t at, void* object, std::span<const Member> members);

  // True when the node is of that kind; otherwise the error is noted.
  bool expect(uint32_t at, DocKind kind, std::string_view expected);
  // each(child) for every child, with the path of it.
  template <class F>
  void each(uint32_t at, F&& f) {
    uint32_t child = at + 1;
    for (uint32_t i = 0; i < node(at).count; ++i, child = node(child).next) {
      bool keyed = node(at).kind == DocKind::map;
      Frame frame{keyed ? node(child).key : std::string_view(), i, !keyed, path_};
      path_ = &frame;
      f(child);
      path_ = frame.up;
    }
  }
  void duplicate(uint32_t at);
  void wrong(uint32_t at, std::string message, std::string hint = {});

 private:
  struct Frame {
    std::string_view name;
    uint32_t index = 0;
    bool element = false;
    const Frame* up = nullptr;
  };
  std::string path() const;
  std::string_view leaf() const { return path_ == nullptr ? std::string_view() : path_->name; }
  void wrong_type(uint32_t at, std::string_view expected, std::string hint = {});
  void wrong_at(DocPosition position, std::string message, std::string hint);
  void unknown_member(uint32_t at, std::span<const Member> members);

  const Document& document_;
  DecodeOptions options_;
  const Frame* path_ = nullptr;
  std::vector<ErrorDetail> errors_;
  bool more_ = false;
};

// Writes JSON. `omit_defaults` compares each member with the same member of its struct's default.
class Encoder {
 public:
  Encoder(std::string& out, EncodeOptions options) : out_(out), options_(options) {}

  bool omit_defaults() const { return options_.omit_defaults; }
  void write(bool value) { out_ += value ? "true" : "false"; }
  void write(double value);
  void write_integer(int64_t value);
  void write_unsigned(uint64_t value);
  void write_string(std::string_view text) { append_json_string(out_, text); }
  void write_enum(std::span<const EnumWord> words, int64_t value);
  void write_null() { out_ += "null"; }
  void write_raw(std::string_view json) { out_ += json.empty() ? std::string_view("null") : json; }
  void write_struct(const void* object, const void* defaults, std::span<const Member> members);

  void open(char bracket);
  void close(char bracket);
  void next();  // before each element
  void key(std::string_view key);
  void member(std::string_view name);

 private:
  void line();
  std::string& out_;
  EncodeOptions options_;
  int depth_ = 0;
  bool first_ = true;
};

// A subtree as JSON.
void append_document_json(std::string& out, const Document& document, uint32_t at);

}  // namespace tutti::codec
