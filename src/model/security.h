#pragma once
// What a task may do to its node, in one place: the capabilities that every task has, and which wishes of a task need
// the consent of its project (Project::allow_privileged), because whoever has them can become the node itself. Pure.

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/job.h"
#include "model/objects.h"

namespace tutti {

// As the kernel numbers them, without "CAP_": the index is the number.
std::span<const std::string_view> capability_names();
// What a task has unless it drops it.
std::span<const std::string_view> default_capabilities();
// "cap_net_raw", "NET_RAW" → "NET_RAW".
std::string plain_capability(std::string_view word);

// What the task has in the end, without "CAP_": the defaults, or all that a worker has itself where it is privileged;
// less cap_drop, more cap_add.
std::set<std::string> capabilities_of(const Security& security);

// The account that a process runs as when it names none and is not privileged: one of its instance's own, in a range
// that no distribution gives out. The group has the same number.
uint32_t own_account_of(uint64_t instance);

// One entry per wish that needs the consent; `path` ("tasks[0]") stands in front of each. Drivers hold to the same
// rules where they know more (which accounts a node has).
std::vector<ErrorDetail> needs_consent(const TaskSpec& task, const std::string& path);

// Whether the project allows what the job wants, as the project is now: asked whenever something of it is to be
// launched that was not launched before. `forbidden`, with one detail per wish.
Status allowed_in(const Project& project, const JobSpec& spec);

}  // namespace tutti
