#pragma once
// What a spec may say about work that begins later (model/launch.h): schedules, parameters, meta, payload, order.
// Part of validate(); pure. The order among jobs is checked where they are submitted: it needs the others.

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/job.h"

namespace tutti {

// Appends what is wrong, each with the path of its field.
void check_launch(const JobSpec& spec, std::vector<ErrorDetail>& errors);

// A dispatch against what the parent takes; `payload` in base64. Everything wrong is in the details.
Status check_dispatch(const JobSpec& parent, const std::map<std::string, std::string>& meta,
                      const std::string& payload);

}  // namespace tutti
