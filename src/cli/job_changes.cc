// What would change and what did: `job plan` and `job diff`, for people.
#include <cstdio>

#include "cli/say.h"
#include "cli/session.h"
#include "model/values.h"
#include "net/http.h"

namespace tutti::cli {
namespace {

// Numbers as one writes them in a job file; everything else as it is.
std::string value_text(const std::string& path, const Json& value) {
  const std::string raw = value.raw();
  const std::string leaf = path.substr(path.rfind('.') + 1);
  if (is_number(raw) && leaf == "cpu") return format_millicores({value.number()});
  if (is_number(raw) && (leaf == "memory" || leaf == "disk" || leaf == "size" || leaf.ends_with("_per_second")))
    return format_bytes({value.number()});
  return raw;
}

void print_changes(const std::vector<Json>& changes) {
  for (const Json& change : changes) {
    const std::string path = change["path"].text();
    const std::string kind = change["kind"].text();
    if (kind == "added")
      say(stdout, "  + %s: %s\n", path.c_str(), value_text(path, change["after"]).c_str());
    else if (kind == "removed")
      say(stdout, "  - %s: %s\n", path.c_str(), value_text(path, change["before"]).c_str());
    else
      say(stdout, "  ~ %s: %s -> %s\n", path.c_str(), value_text(path, change["before"]).c_str(),
          value_text(path, change["after"]).c_str());
  }
}

void print_planned(const Json& plan) {
  std::vector<std::vector<std::string>> rows{{"INSTANCE", "STEP", "NODE", "TO", "REASON"}};
  for (const Json& i : plan["instances"].items()) {
    if (i["step"].text() == "keep") continue;
    rows.push_back({i["name"].text(), i["step"].text(), i["node"].text(), i["to"].text(), i["reason"].text()});
  }
  if (rows.size() > 1) print_table(rows);
}

}  // namespace

int job_plan(Session& s) {
  auto text = read_input(s.words[0]);
  if (!text) return complain(text.error());
  auto answer =
      s.call("POST", "/v1/jobs:plan", *text, text->starts_with("{") ? "application/json" : "application/yaml");
  if (!answer) return complain(placed_in_file(answer.error(), s.words[0]));
  if (s.output != "table") return print_object(s, *answer);
  const Json& plan = *answer;
  const bool fresh = plan["version"].number() == 1 && plan["unchanged"].text() != "true";
  if (fresh)
    say(stdout, "job %s: new\n", plan["job"].text().c_str());
  else if (plan["unchanged"].text() == "true")
    say(stdout, "job %s: the same as version %s\n", plan["job"].text().c_str(), plan["version"].text().c_str());
  else
    say(stdout, "job %s: would be version %s\n", plan["job"].text().c_str(), plan["version"].text().c_str());
  if (!fresh) print_changes(plan["changes"].items());
  for (const Json& image : plan["images"].items())
    say(stdout, "image %s would be fetched first\n", image.text().c_str());
  say(stdout, "%s to start, %s to replace, %s to update in place, %s to keep, %s to stop\n",
      plan["start"].text().c_str(), plan["replace"].text().c_str(), plan["update"].text().c_str(),
      plan["keep"].text().c_str(), plan["stop"].text().c_str());
  if (plan["unplaced"].number() > 0) say(stdout, "%s would wait for a node\n", plan["unplaced"].text().c_str());
  if (!plan["next_launch"].text().empty()) say(stdout, "launched next at %s\n", plan["next_launch"].text().c_str());
  print_planned(plan);
  return 0;
}

int job_diff(Session& s, const std::string& path) {
  std::string query;
  for (size_t i = 1; i < s.words.size() && i < 3; ++i) {
    if (!is_number(s.words[i]))
      return complain(
          {ErrorCode::invalid, "'" + s.words[i] + "' is not a version: 'tutti job history' lists them", {}, 0});
    query += (i == 1 ? "?from=" : "&to=") + s.words[i];
  }
  auto answer = s.call("GET", path + "/diff" + query);
  if (!answer) return complain(answer.error());
  if (s.output != "table") return print_object(s, *answer);
  say(stdout, "version %s -> %s\n", (*answer)["from"].text().c_str(), (*answer)["to"].text().c_str());
  print_changes((*answer)["items"].items());
  return 0;
}

}  // namespace tutti::cli
