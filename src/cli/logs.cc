// What an instance wrote.
#include "cli/frames.h"
#include "cli/options.h"
#include "cli/session.h"

namespace tutti::cli {

int logs(Session& s, const std::string& instance, bool follow, int64_t tail) {
  auto http = s.client();
  if (!http) return complain(http.error());
  std::string path = path_of("/v1/instances", instance) + "/logs?tail=" + std::to_string(tail);
  if (follow) path += "&follow=1";
  if (s.flag("timestamps")) path += "&timestamps=1";
  if (!s.option("since").empty()) {
    auto since = since_text(s.option("since"), SystemClock().now());
    if (!since) return complain(since.error());
    path += "&since=" + net::percent_encode(*since);
  }
  if (!s.option("task").empty()) path += "&task=" + net::percent_encode(s.option("task"));
  Frames frames;
  std::string error;
  auto over = (*http)->stream(
      s.request("GET", path),
      [&](std::string_view piece) {
        frames.feed(piece, [&](char channel, std::string_view bytes) {
          if (channel == kStdout) write_out(STDOUT_FILENO, bytes);
          if (channel == kStderr) write_out(STDERR_FILENO, bytes);
          if (channel == kControl) {
            auto control = from_json<StreamControl>(bytes, {.allow_unknown = true});
            if (control) error = control->error;
          }
        });
        return true;
      },
      seconds(24 * 3600));
  if (!over) return complain(over.error());
  if (over->status >= 400) return complain(problem_of(*over));
  if (!error.empty()) return complain({ErrorCode::unprocessable, error, {}, 0});
  return 0;
}

}  // namespace tutti::cli
