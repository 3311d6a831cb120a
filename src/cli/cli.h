#pragma once
// The command line: parse → call → print. Every verb is one call of the API.

#include <string>
#include <vector>

namespace tutti::cli {

// Runs a client command; argv[0] is the program. Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 not found, 4
// timed out, 5 could not reach the pool; `run` and `exec` give what ran its own.
int run_client(int argc, char** argv);
std::string help_text();

}  // namespace tutti::cli
