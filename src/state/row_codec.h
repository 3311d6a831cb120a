#pragma once
// How batches and pages look in the store: lines of text, compressed with zstd.
//
//   batch   "tutti 1 <revision> <next id> <time ns>" then per row "<table> <id> <c|u|d> <row as JSON>"
//   page    "tutti 1" then per row "<table> <id> c <row as JSON>"
// JSON never holds a raw line break, so a line is a row, and a developer can read every byte (zstd -dc).
// After-images, never commands: replay survives upgrades. Decoding refuses what it does not know, by name.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/table.h"
#include "model/snapshot.h"
#include "state/draft.h"
#include "state/engine.h"

namespace tutti::state {

// The stored JSON of a row; empty if there is none of that id.
std::string encode_row(const Snapshot& snapshot, TableId table, uint64_t id);
// Puts a row from its stored JSON, without touching derived indexes.
Status load_row(Snapshot& snapshot, const TableEdit& edit, TableId table, uint64_t id, std::string_view json);
void drop_row(Snapshot& snapshot, const TableEdit& edit, TableId table, uint64_t id);

// The same through a draft: with the derived indexes, and counted as touched.
Status put_row(Draft& draft, TableId table, std::string_view json);

struct BatchHead {
  uint64_t revision = 0;
  uint64_t next_id = 0;
  int64_t time_ns = 0;
};
// Well below what decompress() takes.
inline constexpr size_t kBatchTextBytesMax = 64u << 20;
std::string encode_batch(const BatchHead& head, const std::vector<WatchEvent>& events);
Result<std::vector<WatchEvent>> decode_batch(std::string_view text, uint64_t epoch, BatchHead& head);

// All rows of one page of a table: ids [number << kPageBits, (number + 1) << kPageBits). Empty: no rows.
inline constexpr int kPageBits = 8;
std::string encode_page(const Snapshot& snapshot, TableId table, uint64_t number);
// A page, rather than a batch.
bool is_page(std::string_view text);
Status load_page(Snapshot& snapshot, const TableEdit& edit, std::string_view text);

// Compresses and takes apart. Keeps what zstd needs between calls: to make that anew costs more than a small batch
// does. One thread at a time.
class Packer {
 public:
  Packer();
  ~Packer();
  Result<std::string> compress(std::string_view text);
  Result<std::string> decompress(std::string_view bytes);  // at most 256 MiB

 private:
  struct Contexts;
  std::unique_ptr<Contexts> contexts_;
};

}  // namespace tutti::state
