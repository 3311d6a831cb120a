#pragma once
// The strong ids of every noun. All come from one counter in `apply`; an id is never given twice.

#include "base/id.h"

namespace tutti {

using ProjectId = Id<struct ProjectTag>;
using NodeId = Id<struct NodeTag>;
using JobId = Id<struct JobTag>;
using JobVersionId = Id<struct JobVersionTag>;
using InstanceId = Id<struct InstanceTag>;
using VolumeId = Id<struct VolumeTag>;
using TokenId = Id<struct TokenTag>;
using OperationId = Id<struct OperationTag>;
using EventId = Id<struct EventTag>;
using ImageId = Id<struct ImageTag>;

// A revision numbers commits: one more for each batch that changed something.
struct Revision {
  uint64_t value = 0;
  constexpr auto operator<=>(const Revision&) const = default;
};

// Which incarnation of the state a revision belongs to; a restore raises the epoch. Text: "epoch:revision".
struct Cursor {
  uint64_t epoch = 0;
  Revision revision;
  constexpr auto operator<=>(const Cursor&) const = default;
};
std::string to_text(Cursor cursor);
Result<Cursor> parse_cursor(std::string_view text);

}  // namespace tutti
