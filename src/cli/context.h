#pragma once
// Contexts: which pools this user knows, and how to reach them. One JSON file of the user's, mode 0600, written whole.

#include <boost/describe.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace tutti::cli {

struct Context {
  std::string name;
  std::string address;    // host:port of the API
  std::string authority;  // PEM
  std::string token;
  std::string project;
};
BOOST_DESCRIBE_STRUCT(Context, (), (name, address, authority, token, project))

struct Contexts {
  std::string current;
  std::vector<Context> contexts;
};
BOOST_DESCRIBE_STRUCT(Contexts, (), (current, contexts))

// $TUTTI_CONFIG, else ~/.config/tutti/contexts.json.
std::string contexts_path();
Result<Contexts> load_contexts();  // empty when there is no file
Status save_contexts(const Contexts& contexts);

Status save_context(const std::string& name, const std::string& address, const std::string& authority,
                    const std::string& token, bool make_current);
// The named one, or the current one. `unavailable` with what to do when there is none.
Result<Context> load_context(const std::string& name);
// Exchanges a credential for a token of one's own and saves the context.
Result<Context> login(const std::string& address, const std::string& authority, const std::string& credential,
                      const std::string& name);

}  // namespace tutti::cli
