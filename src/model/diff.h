#pragma once
// Diff: what differs between two specs of a job, field by field. Pure.
//
// Compared are the two documents that the codec writes, so a field that is added to a struct is compared without a word
// here. Elements of lists that have a name (tasks, ports) or a target (volumes) are matched by it, others by position.
// Cost: both documents once; a job of 100 tasks takes well under a millisecond.

#include <boost/describe.hpp>
#include <string>
#include <vector>

#include "model/codec.h"
#include "model/job.h"

namespace tutti {

enum class ChangeKind : uint8_t { added, removed, changed };
BOOST_DESCRIBE_ENUM(ChangeKind, added, removed, changed)

struct FieldChange {
  std::string path;  // "tasks[web].resources.cpu"
  ChangeKind kind = ChangeKind::changed;
  RawJson before;  // null where it was added
  RawJson after;   // null where it was removed
};
BOOST_DESCRIBE_STRUCT(FieldChange, (), (path, kind, before, after))

// In the order of the fields; what is only in `before` comes after what is in `after`. Empty: the same spec.
std::vector<FieldChange> diff(const JobSpec& before, const JobSpec& after);

// Whether an instance of a group that was started from `before` is what `after` asks for too, so that the new version
// can take it over as it runs: the same tasks at the same places, but for what only the manager reads (count,
// reschedule). Images are compared by digest, so the versions are asked for, not the specs.
bool same_work(const JobVersion& before, const GroupView& group_before, const JobVersion& after,
               const GroupView& group_after);

}  // namespace tutti
