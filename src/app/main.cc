// tutti: one executable; its first word (or MODE in the environment) says which role it plays.

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "app/roles.h"
#include "cli/cli.h"

namespace {

int run_role(const std::string& role, const std::vector<std::string>& arguments, bool& known) {
  known = true;
  if (role == "manager") return tutti::app::run_manager(arguments);
  if (role == "worker") return tutti::app::run_worker(arguments);
  if (role == "scheduler") return tutti::app::run_scheduler(arguments);
  if (role == "sim") return tutti::app::run_sim(arguments);
  if (role == "bench") return tutti::app::run_bench(arguments);
  if (role == "up") return tutti::app::run_up(arguments);
  if (role == "config" && !arguments.empty() && arguments[0] == "show") {
    return tutti::app::show_settings({arguments.begin() + 1, arguments.end()});
  }
  known = false;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string role = argc > 1 ? argv[1] : "";
  std::vector<std::string> arguments(argv + std::min(argc, 2), argv + argc);
  const char* mode = std::getenv("MODE");
  if (mode != nullptr && (role.empty() || role.starts_with("--"))) {
    arguments.assign(argv + std::min(argc, 1), argv + argc);
    role = mode;
  }
  bool known = false;
  const int code = run_role(role, arguments, known);
  return known ? code : tutti::cli::run_client(argc, argv);
}
