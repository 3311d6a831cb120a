#include "manager/api/query.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "manager/api/routes.h"
#include "model/validate.h"

namespace tutti::manager {
namespace {

using enum QueryType;

constexpr QueryWord kQueryWords[] = {
    {"limit", number, "Rows of this page: 1000 if left out, 100000 at most; of events 200 and 1000", ""},
    {"cursor", text, "The cursor of the page before", ""},
    {"watch", truth, "Server-sent events {cursor, type, object} instead of a list; with from and project only", ""},
    {"from", text,
     "Watch from this cursor on: the revision of a list, or that of the last event seen; of a comparison: the version "
     "to compare",
     ""},
    {"project", text, "A project other than one's own", ""},
    {"fields", text, "* shows whole objects, not summary rows", "*"},
    {"dry_run", truth, "Check only, store nothing", ""},
    {"wait", text, "Answer when the operation has ended, or after this long (30s)", ""},
    {"job", text, "Of this job only", ""},
    {"node", text, "On this node only", ""},
    {"live", truth, "Only what has not ended", ""},
    {"timestamps", truth, "Each line begins with its time", ""},
    {"all", truth, "What is left out otherwise, too", ""},
    {"task", text, "Of a group: which task", ""},
    {"follow", truth, "Go on as more is written", ""},
    {"tail", number, "Only the last so many lines", ""},
    {"since", text, "Only what was written this long ago at most (10m), or since a time", ""},
    {"stdout", truth, "0 leaves the standard output out", ""},
    {"stderr", truth, "0 leaves the standard error out", ""},
    {"request", text, "The request as JSON: command, task, env, user, workdir, tty, stdin_open, columns, rows", ""},
    {"path", text, "Inside the instance", ""},
    {"fenced", truth, "The machine is surely off: what it held may run elsewhere at once", ""},
    {"reference", text, "What to call it, NAME:TAG", ""},
    {"kind", text, "rootfs for a tar of a root file system", "rootfs"},
    {"entrypoint", text, "Of an image made from a root file system, words between blanks", ""},
    {"cmd", text, "Of an image made from a root file system, words between blanks", ""},
    {"tag", text, "Which tag; latest if left out", ""},
    {"to", number, "Compare with this version; the newest if left out", ""},
    {"parent", text, "Only jobs that this periodic or parameterized job launched", ""},
    {"object", text, "About this object only, by name or id", ""},
};

// What a value should have been; empty when it is right.
std::string expected(const QueryWord& word, std::string_view value) {
  if (!word.only.empty() && value != word.only) return "it takes " + std::string(word.only) + " only";
  constexpr std::array<std::string_view, 5> kTruths = {"", "1", "0", "true", "false"};
  if (word.type == truth && std::find(kTruths.begin(), kTruths.end(), value) == kTruths.end())
    return "it takes 1 or 0, or stands alone";
  std::string_view digits = value.starts_with('-') ? value.substr(1) : value;
  if (word.type == number && !value.empty() &&
      (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string_view::npos))
    return "it takes a number";
  return {};
}

bool is_on(const std::map<std::string, std::string>& query, const std::string& name) {
  auto at = query.find(name);
  return at != query.end() && at->second != "0" && at->second != "false";
}

}  // namespace

const QueryWord* query_word(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kQueryWords), std::end(kQueryWords), [&](const QueryWord& w) { return w.name == name; });
  return found == std::end(kQueryWords) ? nullptr : found;
}

Status check_query(const Route& route, const std::map<std::string, std::string>& query) {
  if (query.empty()) return {};
  std::vector<std::string> takes = split(route.query, ' ');
  std::erase(takes, "");
  const std::string where = std::string(route.method) + " " + std::string(route.path);
  auto has = [&](std::string_view name) { return std::find(takes.begin(), takes.end(), name) != takes.end(); };
  const bool watches = has("watch") && is_on(query, "watch");
  Error error{ErrorCode::invalid, "", {}, 0};
  auto refuse = [&](const std::string& name, const std::string& message, std::string what, std::string hint) {
    if (error.message.empty()) error.message = where + message;
    error.details.push_back({name, std::move(what), std::move(hint)});
  };
  for (const auto& [name, value] : query) {
    if (error.details.size() == kValidationErrorsMax) break;  // a hint costs something to find
    if (!has(name)) {
      const std::string_view near = nearest_word(name, {takes.begin(), takes.end()});
      refuse(name, " takes no parameter '" + name + "'", "unknown parameter",
             (near.empty() ? "" : "did you mean '" + std::string(near) + "'? ") +
                 (takes.empty() ? "there are none" : "there are: " + tutti::join(takes, ", ")));
    } else if (watches && name != "watch" && name != "from" && name != "project") {
      refuse(name, ": a watch takes no parameter '" + name + "'", "is not for a watch",
             has("project") ? "there are: watch, from, project" : "there are: watch, from");
    } else if (name == "from" && has("watch") && !watches) {
      refuse(name, " takes 'from' with 'watch' only", "is for a watch only", "watch&from=" + value);
    } else if (const std::string right = expected(*query_word(name), value); !right.empty()) {
      refuse(name, ": the parameter '" + name + "' cannot be '" + value + "'", "'" + value + "' is not known", right);
    }
  }
  if (!error.details.empty()) return tl::make_unexpected(std::move(error));
  return {};
}

}  // namespace tutti::manager
