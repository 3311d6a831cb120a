#pragma once
// What a task may say of its health checks (model/health.h), and what it leaves out. Part of validate() and
// apply_defaults(); pure.

#include <string>
#include <vector>

#include "base/result.h"
#include "model/job.h"

namespace tutti {

// Appends what is wrong; `at` is the task's path: "tasks[0].".
void check_health(const TaskSpec& task, const std::string& at, std::vector<ErrorDetail>& errors);
// Names and ports that were left out.
void name_checks(TaskSpec& task);

}  // namespace tutti
