// `tutti sim`: what can be simulated.
#include <cstdio>

#include "app/roles.h"
#include "base/text.h"

namespace tutti::app {

int run_sim(const std::vector<std::string>& arguments) {
  const std::string what = arguments.empty() ? "--help" : arguments[0];
  if (what == "fleet") return run_fleet({arguments.begin() + 1, arguments.end()});
  if (what == "replay") return run_replay({arguments.begin() + 1, arguments.end()});
  if (what == "--help" || what == "-h") {
    std::printf(
        "Example: tutti sim fleet --help\n\n  fleet   thousands of workers that run nothing, against a real manager\n  "
        "replay  a trace of a GPU cluster through the scheduler: how much of the GPUs is given out\n");
    return 0;
  }
  const std::string_view hint = nearest_word(what, {"fleet", "replay"});
  return complain(Error{ErrorCode::invalid,
                        "nothing called '" + what + "' can be simulated" +
                            (hint.empty() ? "" : ": did you mean '" + std::string(hint) + "'?"),
                        {},
                        0});
}

}  // namespace tutti::app
