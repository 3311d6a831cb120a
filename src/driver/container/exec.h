#pragma once
// exec in a container: the process object that the runtime is given, made of what the task itself runs with. That is
// kept in run_dir/exec.base from the start on, as whoever execs later knows neither the image nor the environment any
// more.

#include <string>
#include <vector>

#include "driver/container/bundle.h"
#include "driver/driver.h"
#include "sys/fd.h"

namespace tutti::driver {

struct ExecBase {
  std::vector<std::string> env;         // the task's, complete
  std::vector<std::string> lower_dirs;  // where names of users are looked up
  std::string workdir;
  ContainerUser user;
};
Status save_exec_base(const std::string& run_dir, const ExecBase& base);
Result<ExecBase> load_exec_base(const std::string& run_dir);

// The runtime specification's process object. `invalid` for a user that the image does not have.
Result<std::string> exec_process_json(const ExecBase& base, const TaskSpec& task, const ExecRequest& request);

// A socket to which the runtime sends the terminal that it made, named by `path`.
Result<sys::UniqueFd> listen_for_terminal(const std::string& path);
// Waits for it, or for the end of `pid` (its child), which then is `unprocessable`.
Result<sys::UniqueFd> receive_terminal(int listener, int pid);

}  // namespace tutti::driver
