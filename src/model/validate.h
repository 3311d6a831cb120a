#pragma once
// Whether a job's spec makes sense, beyond what decoding refuses: names, counts, ranges, what needs what.
// Pure. Everything wrong is gathered (at most kValidationErrorsMax), each with the path of its field and what to do. A
// list above its limit is the only thing told then: nothing is worked out for what a stranger made as long as he liked.

#include "base/result.h"
#include "model/job.h"
#include "model/node.h"

namespace tutti {

inline constexpr size_t kValidationErrorsMax = 20;

// Of a spec after apply_defaults(). The project's own rules (privileges, host paths) are not its business.
Status validate(const JobSpec& spec);

// Fills in what follows from the rest: restart.policy by job type, the names of ports, the group of a task without
// one, the count of a group's further tasks where it was left at 1, "latest" is not added to images (resolving does
// that). Idempotent. What has more tasks, or a task more ports or checks, than validate() takes is left as it is.
void apply_defaults(JobSpec& spec);

// What a worker says of its node, which nobody but it has looked at: ranges, unique devices, text without control
// characters. The first thing that is wrong.
Status validate(const Inventory& inventory);

// "TERM", "SIGTERM" or "15" → 15; `invalid` for what is no signal.
Result<int> parse_signal(std::string_view text);

// The feature level of this program: its workers know every field up to it.
inline constexpr uint32_t kFeatureLevel = 2;
// The feature level that brought a field; 1: there from the start.
uint32_t field_feature_level(std::string_view type, std::string_view member);
// The highest level among the fields that a spec sets: workers below it are not given its instances.
uint32_t required_feature_level(const JobSpec& spec);

}  // namespace tutti
