#pragma once
// Shared by archive_*.cc: directory-relative opening, and libarchive's objects with their texts.

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <locale.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "sys/archive.h"
#include "sys/fd.h"

namespace tutti::sys::archive_detail {

struct FreeReader {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct FreeWriter {
  void operator()(archive* a) const { archive_write_free(a); }
};
struct FreeEntry {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};
using Reader = std::unique_ptr<archive, FreeReader>;
using Writer = std::unique_ptr<archive, FreeWriter>;
using Entry = std::unique_ptr<archive_entry, FreeEntry>;

inline std::string error_text(archive* a) {
  const char* text = archive_error_string(a);
  return text ? text : "unknown error";
}

// Relative to `directory`; the kernel refuses what leaves it. `resolve`: RESOLVE_*.
UniqueFd open_beneath(int directory, const std::string& path, uint64_t flags, uint64_t resolve);

// libarchive turns names of pax headers into the locale's bytes; in the C locale those beyond ASCII are lost.
class Utf8Names {
 public:
  Utf8Names() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_) before_ = ::uselocale(locale_);
  }
  ~Utf8Names() {
    if (!locale_) return;
    ::uselocale(before_);
    ::freelocale(locale_);
  }
  Utf8Names(const Utf8Names&) = delete;
  Utf8Names& operator=(const Utf8Names&) = delete;

 private:
  locale_t locale_;
  locale_t before_ = nullptr;
};

Result<Extracted> extract_to(const ByteSource& source, int directory, const ExtractOptions& options);

}  // namespace tutti::sys::archive_detail
