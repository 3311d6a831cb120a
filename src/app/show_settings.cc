#include <cstdio>
#include <map>

#include "app/roles.h"

namespace tutti::app {

int show_settings(const std::vector<std::string>& arguments) {
  std::vector<std::string> rest = arguments;
  std::string role = "manager";
  if (rest.size() >= 2 && rest[0] == "--role") {
    role = rest[1];
    rest.erase(rest.begin(), rest.begin() + 2);
  }
  const std::map<std::string, std::vector<Setting> (*)()> roles = {{"manager", manager_settings},
                                                                   {"worker", worker_settings},
                                                                   {"scheduler", scheduler_settings},
                                                                   {"up", up_settings}};
  const auto found = roles.find(role);
  if (found == roles.end())
    return complain({ErrorCode::invalid, "--role is manager, worker, scheduler or up, not '" + role + "'", {}, 0});
  Settings settings(found->second());
  if (Status loaded = settings.load(rest); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf(
        "Example: tutti config show --role worker\n\nThe effective settings of a role, and where each came from.\n");
    return 0;
  }
  std::printf("# role: %s\n%s", role.c_str(), settings.show().c_str());
  return 0;
}

}  // namespace tutti::app
