// Launching by hand: `job dispatch` and `job periodic force`.
#include <cstdio>

#include "cli/say.h"
#include "cli/session.h"
#include "net/http.h"

namespace tutti::cli {
namespace {

// Says which job came of it, then waits for its end.
int launched(Session& s, const std::string& path, const std::string& body) {
  auto answer = s.call("POST", path, body);
  if (!answer) return complain(answer.error());
  if (!s.flag("quiet")) say(stdout, "job %s\n", (*answer)["object.name"].text().c_str());
  std::fflush(stdout);
  return s.wait_operation(*answer);
}

}  // namespace

int job_dispatch(Session& s) {
  std::string meta;
  for (const auto& [name, value] : s.invocation.repeated) {
    if (name != "meta") continue;
    const size_t at = value.find('=');
    if (at == std::string::npos || at == 0)
      return complain({ErrorCode::invalid, "write --meta KEY=VALUE, not '" + value + "'", {}, 0});
    meta += (meta.empty() ? "" : ",") + json_text(value.substr(0, at)) + ":" + json_text(value.substr(at + 1));
  }
  std::string payload;
  if (s.words.size() > 1) {
    Result<std::string> read = read_input(s.words[1]);
    if (!read) return complain(read.error());
    payload = std::move(*read);
  }
  return launched(s, path_of("/v1/jobs", s.words[0]) + ":dispatch",
                  "{\"meta\":{" + meta + "},\"payload\":" + json_text(net::base64_encode(payload)) + "}");
}

int job_periodic(Session& s) {
  if (s.words[0] != "force") return complain({ErrorCode::invalid, "usage: tutti job periodic force NAME", {}, 0});
  return launched(s, path_of("/v1/jobs", s.words[1]) + ":force", "");
}

}  // namespace tutti::cli
