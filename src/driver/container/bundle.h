#pragma once
// The OCI bundle of a run: config.json with secure defaults (C03), and the small files that are bound into it. Pure but
// for write_bundle().

#include <string>
#include <vector>

#include "driver/driver.h"

namespace tutti::driver {

struct ContainerUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // supplementary, of a named user
};
// "uid[:gid]" or names looked up in the image's own passwd and group (`lower_dirs`, never through a link).
Result<ContainerUser> resolve_user(const std::string& text, const std::vector<std::string>& lower_dirs);

// What is run: the task's entrypoint and command over the image's, as Docker does it. `invalid` when there is nothing.
Result<std::vector<std::string>> command_of(const RunContext& run);
// image < extra < task.
std::vector<std::string> environment_of(const RunContext& run);
std::string workdir_of(const RunContext& run);
// The runtime specification's process: the task's own, or one beside it.
std::string process_json(const TaskSpec& task, const std::vector<std::string>& argv,
                         const std::vector<std::string>& env, const std::string& workdir, const ContainerUser& user,
                         bool terminal);
// `filter`: the system call filter as crun takes it ready-made; empty: as a list of names for the runtime to build.
std::string oci_config(const RunContext& run, const std::vector<std::string>& argv, const ContainerUser& user,
                       const std::string& filter);
// The task's capabilities as "CAP_X".
std::vector<std::string> oci_capabilities(const Security& security);
// run_dir/bundle/{config.json,rootfs/}, run_dir/etc/{hosts,hostname,resolv.conf}.
Status write_bundle(const RunContext& run, const std::string& filter);

}  // namespace tutti::driver
