#pragma once
// From the options of `tutti run` to a job. Pure but for the environment, which comes in as a function.

#include <functional>
#include <string>

#include "cli/usage.h"
#include "model/job.h"

namespace tutti::cli {

// The environment of this process; null where there is no such variable.
using Environment = std::function<const char*(const char*)>;

// How long the job of an attached `run --rm` stays once it has ended, should nobody have fetched its end and deleted
// it.
inline constexpr Duration kAttachedTtl = seconds(60);

// "8080:80", "80", "53:53/udp"; `invalid` says how it is written.
Result<PortSpec> parse_port(const std::string& text);
// "data:/var/lib/x", "/srv/www:/www:ro".
Result<VolumeMount> parse_volume(const std::string& text);
// KEY=VALUE, or KEY alone: the value that we have; nothing where we have none.
Result<std::map<std::string, std::string>> environment_of(const Invocation& call, const Environment& ours);

// `name`: of the job where --name does not say one.
Result<JobSpec> run_spec(const Invocation& call, const std::string& name, const Environment& ours);

}  // namespace tutti::cli
