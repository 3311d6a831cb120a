#include <cstdio>

#include "app/roles.h"

namespace tutti::app {

int show_settings(const std::vector<std::string>& arguments) {
  std::vector<std::string> rest = arguments;
  std::string role = "manager";
  if (rest.size() >= 2 && rest[0] == "--role") {
    role = rest[1];
    rest.erase(rest.begin(), rest.begin() + 2);
  }
  if (role != "manager" && role != "worker" && role != "up") {
    return complain({ErrorCode::invalid, "--role is manager, worker or up, not '" + role + "'", {}, 0});
  }
  Settings settings(role == "manager" ? manager_settings() : role == "worker" ? worker_settings() : up_settings());
  if (Status loaded = settings.load(rest); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf("Example: tutti config show --role worker\n\nThe effective settings of a role, and where each came from.\n");
    return 0;
  }
  std::printf("# role: %s\n%s", role.c_str(), settings.show().c_str());
  return 0;
}

}  // namespace tutti::app
