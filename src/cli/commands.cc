// Nouns and verbs: each is one call of the API.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>

#include "base/printable.h"
#include "base/random.h"
#include "base/text.h"
#include "cli/requests.h"
#include "cli/run_spec.h"
#include "cli/say.h"
#include "cli/session.h"
#include "model/codec.h"
#include "model/node.h"
#include "model/session.h"

namespace tutti::cli {
namespace {

const std::vector<Column> kInstanceColumns = {
    {"INSTANCE", "name"},       {"STATE", "status.state"}, {"HEALTH", "~health"},           {"NODE", "status.node"},
    {"IMAGE", "status.image"},  {"PORTS", "~ports"},       {"RESTARTS", "status.restarts"}, {"AGE", "~age:created"},
    {"REASON", "status.reason"}};
const std::vector<Column> kJobColumns = {{"JOB", "name"},
                                         {"TYPE", "status.type"},
                                         {"STATE", "status.state"},
                                         {"RUNNING", "~count"},
                                         {"PENDING", "status.pending"},
                                         {"COMPLETED", "status.completed"},
                                         {"FAILED", "status.failed"},
                                         {"VERSION", "version"},
                                         {"AGE", "~age:created"}};
const std::vector<Column> kNodeColumns = {{"NODE", "name"},
                                          {"HEALTH", "status.health"},
                                          {"ELIGIBLE", "spec.eligibility"},
                                          {"ADDRESS", "status.address"},
                                          {"ARCH", "status.arch"},
                                          {"CPU", "~cpu"},
                                          {"MEMORY", "~memory"},
                                          {"INSTANCES", "status.instances"},
                                          {"DRIVERS", "~drivers"},
                                          {"VERSION", "status.version"}};
const std::vector<Column> kSchedulerColumns = {
    {"SCHEDULER", "name"}, {"HEALTH", "health"},     {"SHARE", "share"},
    {"BEHIND", "behind"},  {"PROPOSED", "proposed"}, {"PLACED", "placed"},
    {"PLAN", "plan"},      {"VERSION", "version"},   {"FRAGMENTATION", "fragmentation"}};
const std::vector<Column> kEventColumns = {
    {"TIME", "status.time"}, {"TYPE", "status.type"}, {"OBJECT", "status.object_name"}, {"MESSAGE", "status.message"}};
const std::vector<Column> kOperationColumns = {{"OPERATION", "id"},           {"KIND", "status.operation"},
                                               {"STATE", "status.state"},     {"PROGRESS", "status.progress"},
                                               {"MESSAGE", "status.message"}, {"AGE", "~age:created"}};

int show(Session& s, const std::string& path) {
  auto answer = s.call("GET", path);
  if (!answer) return complain(answer.error());
  return print_object(s, *answer);
}

int submit_file(Session& s, const std::string& path) {
  auto text = read_input(s.words[0]);
  if (!text) return complain(text.error());
  auto answer = s.call("POST", path, *text, text->starts_with("{") ? "application/json" : "application/yaml");
  if (!answer) return complain(placed_in_file(answer.error(), s.words[0]));
  if (path == "/v1/jobs:validate") return print_object(s, *answer);
  if (!s.flag("quiet"))
    say(stdout, "job %s: version %s\n", (*answer)["object.name"].text().c_str(),
        (*answer)["object.version"].text().c_str());
  std::fflush(stdout);
  return s.wait_operation(*answer);
}

}  // namespace

Result<std::string> read_input(const std::string& file) {
  if (file == "-") return std::string{std::istreambuf_iterator<char>(std::cin), {}};
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno("read " + file, errno);
  std::string out;
  char buffer[8192];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) out.append(buffer, static_cast<size_t>(n));
  const int error = errno;
  ::close(fd);
  if (n < 0) return fail_errno("read " + file, error);
  return out;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos;
}

std::string path_of(const std::string& base, const std::string& name) {
  return base + "/" + net::percent_encode(name);
}

// A verb that starts an operation: say what was asked for, wait, done.
int act(Session& s, const std::string& method, const std::string& path, const std::string& body) {
  auto answer = s.call(method, path, body);
  if (!answer) return complain(answer.error());
  return s.wait_operation(*answer);
}

namespace {

// A list with all of its pages, where it was asked for whole.
Result<Json> whole_list(Session& s, const std::string& path) {
  TUTTI_TRY(Json page, s.call("GET", path));
  if (page["cursor"].text().empty() || path.find("limit=1000") == std::string::npos) return page;
  std::string items;
  const std::string revision = page["revision"].text();
  while (true) {
    for (const Json& item : page["items"].items()) items += (items.empty() ? "" : ",") + item.raw();
    const std::string cursor = page["cursor"].text();
    if (cursor.empty()) break;
    TUTTI_TRY(page, s.call("GET", path + "&cursor=" + net::percent_encode(cursor)));
  }
  return Json::parse("{\"items\":[" + items + "],\"revision\":" + json_text(revision) + "}");
}

}  // namespace

int list_command(Session& s, const std::string& path, const std::vector<Column>& columns) {
  auto answer = whole_list(s, path);
  if (!answer) return complain(answer.error());
  print_list(s, *answer, columns, answer->raw());
  if (!s.flag("watch")) return 0;
  // Shown again whenever something of this kind changes; nothing is polled.
  auto http = s.client();
  if (!http) return complain(http.error());
  const std::string kind = path.substr(0, path.find('?'));
  net::Request watch = s.request("GET", kind + "?watch=1&from=" + net::percent_encode((*answer)["revision"].text()));
  auto over = (*http)->stream(
      watch,
      [&](std::string_view piece) {
        if (piece.find("event: created") == std::string_view::npos &&
            piece.find("event: updated") == std::string_view::npos &&
            piece.find("event: deleted") == std::string_view::npos)
          return true;
        auto again = whole_list(s, path);
        if (!again) return false;
        std::printf("%s", ::isatty(STDOUT_FILENO) != 0 ? "\033[H\033[J" : "\n");
        print_list(s, *again, columns, again->raw());
        std::fflush(stdout);
        return true;
      },
      seconds(3600));
  return over ? 0 : complain(over.error());
}

int ps(Session& s) {
  std::string path = s.flag("all") ? "/v1/instances?limit=1000&all=1" : "/v1/instances?limit=1000&live=1";
  if (!s.option("job").empty()) path += "&job=" + net::percent_encode(s.option("job"));
  if (!s.option("node").empty()) path += "&node=" + net::percent_encode(s.option("node"));
  return list_command(s, path, kInstanceColumns);
}

int explain(Session& s) {
  auto answer = s.call("GET", path_of("/v1/instances", s.words[0]) + "/explain");
  if (!answer) return complain(answer.error());
  if (s.output != "table") return print_object(s, *answer);
  const Json& e = *answer;
  say(stdout, "%s: %s", e["name"].text().c_str(), e["state"].text().c_str());
  if (!e["pending_since"].text().empty()) say(stdout, " since %s", e["pending_since"].text().c_str());
  say(stdout, "\n");
  if (e["nodes_total"].number() > 0)
    say(stdout, "%s of %s nodes would do\n", e["nodes_feasible"].text().c_str(), e["nodes_total"].text().c_str());
  for (const Json& task : e["tasks"].items()) say(stdout, "  %s\n", task.text().c_str());
  for (const Json& reason : e["reasons"].items())
    say(stdout, "  %s: %s\n", reason["nodes"].text().c_str(), reason["reason"].text().c_str());
  const std::string lacks = e["nearest_lacks"].text();
  if (!e["nearest_node"].text().empty())
    say(stdout, "nearest: %s%s\n", e["nearest_node"].text().c_str(),
        lacks.empty() ? (": " + e["nearest_reason"].text()).c_str() : (" lacks " + lacks).c_str());
  if (e["queue_length"].number() > 0)
    say(stdout, "%s wait for a place, %s of them before this one\n", e["queue_length"].text().c_str(),
        e["queue_before"].text().c_str());
  for (const Json& remedy : e["remedies"].items()) say(stdout, "  → %s\n", remedy.text().c_str());
  if (!e["scores"].items().empty())
    say(stdout, "scores (more is better; 100 is what an affinity of weight 100 counts for):\n");
  for (const Json& node : e["scores"].items()) {
    auto points = [](const Json& score) {
      char text[32];
      std::snprintf(text, sizeof text, "%.6g", std::strtod(score.text().c_str(), nullptr));
      return std::string(text);
    };
    say(stdout, "  %s%s %s", node["node"].text().c_str(),
        node["node"].text() == e["node"].text() ? " (where it is)" : "", points(node["score"]).c_str());
    std::string terms;
    for (const Json& term : node["terms"].items())
      terms += (terms.empty() ? " = " : ", ") + term["term"].text() + " " + points(term["score"]);
    say(stdout, "%s\n", terms.c_str());
  }
  return 0;
}

int job(Session& s, const std::string& verb) {
  if (verb == "list")
    return list_command(s,
                        "/v1/jobs?limit=1000" +
                            (s.option("parent").empty() ? "" : "&parent=" + net::percent_encode(s.option("parent"))),
                        kJobColumns);
  if (verb == "run") return submit_file(s, "/v1/jobs");
  if (verb == "validate") return submit_file(s, "/v1/jobs:validate");
  if (verb == "plan") return job_plan(s);
  if (verb == "dispatch") return job_dispatch(s);
  if (verb == "periodic") return job_periodic(s);
  const std::string path = path_of("/v1/jobs", s.words[0]);
  if (verb == "show") return show(s, path);
  if (verb == "delete") return act(s, "DELETE", path);
  if (verb == "diff") return job_diff(s, path);
  if (verb == "revert") {
    const std::string& version = s.words[1];
    if (!is_number(version))
      return complain(
          {ErrorCode::invalid, "'" + version + "' is not a version: 'tutti job history' lists them", {}, 0});
    return act(s, "POST", path + ":revert", "{\"version\":" + version + "}");
  }
  if (verb == "history")
    return list_command(
        s, path + "/versions",
        {{"VERSION", "~version"}, {"STATE", "~version-state"}, {"CREATED", "created"}, {"ERROR", "status.error"}});
  if (verb == "scale") {
    const size_t at = s.words[1].find('=');
    const std::string group = at == std::string::npos ? "" : s.words[1].substr(0, at);
    const std::string count = at == std::string::npos ? s.words[1] : s.words[1].substr(at + 1);
    if (count.empty() || count.find_first_not_of("0123456789") != std::string::npos)
      return complain({ErrorCode::invalid, "'" + count + "' is not a count: a number from 0", {}, 0});
    return act(s, "POST", path + ":scale", "{\"group\":" + json_text(group) + ",\"count\":" + count + "}");
  }
  return act(s, "POST", path + ":" + verb);  // stop, start, promote, abort
}

int instance(Session& s, const std::string& verb) {
  if (verb == "list") return ps(s);
  if (verb == "cp") return copy(s);
  const std::string path = path_of("/v1/instances", s.words[0]);
  if (verb == "show") return show(s, path);
  if (verb == "delete") return act(s, "DELETE", path);
  if (verb == "logs")
    return logs(s, s.words[0], s.flag("follow"), s.option("tail").empty() ? -1 : std::atoll(s.option("tail").c_str()));
  if (verb == "signal") {
    auto answer =
        s.call("POST", path + ":signal", to_json(SignalBody{s.words[1], s.option("task")}, {.omit_defaults = true}));
    return answer ? 0 : complain(answer.error());
  }
  if (verb == "exec" || verb == "attach") {
    StreamQuery query;
    query.command = s.invocation.command;
    if (verb == "exec" && query.command.empty())
      return complain({ErrorCode::invalid, "say which command; usage: " + usage_line(*s.invocation.usage), {}, 0});
    auto env =
        environment_of(s.invocation, [](const char* name) { return static_cast<const char*>(std::getenv(name)); });
    if (!env) return complain(env.error());
    query.env = std::move(*env);
    query.task = s.option("task");
    query.user = s.option("user");
    query.workdir = s.option("workdir");
    query.tty = s.flag("tty");
    query.stdin_open = s.flag("interactive");
    return interactive(s, path + "/" + verb, query, query.stdin_open || verb == "attach");
  }
  return act(s, "POST", path + ":" + verb);
}

namespace {

// Labels as they are with the changes made; `invalid` where a word is none.
Result<std::map<std::string, std::string>> changed_labels(const Json& labels, const std::vector<std::string>& changes) {
  std::map<std::string, std::string> out;
  for (const Json& label : labels.items()) out[label.key()] = label.text();
  for (const std::string& change : changes) {
    const size_t at = change.find('=');
    if (at == 0 || (at == std::string::npos && !change.ends_with('-')))
      return fail(ErrorCode::invalid, "write labels as KEY=VALUE, or KEY- to take one away, not '" + change + "'");
    if (at == std::string::npos)
      out.erase(change.substr(0, change.size() - 1));
    else
      out[change.substr(0, at)] = change.substr(at + 1);
  }
  return out;
}

int label(Session& s, const std::string& path) {
  const std::vector<std::string> changes(s.words.begin() + 1, s.words.end());
  if (auto wrong = changed_labels({}, changes); !wrong) return complain(wrong.error());
  auto present = s.call("GET", path);
  if (!present) return complain(present.error());
  auto spec = from_json<NodeSpec>((*present)["spec"].raw(), {.allow_unknown = true});
  if (!spec) return complain(spec.error());
  spec->labels = *changed_labels((*present)["spec.labels"], changes);
  auto answer = s.call("PATCH", path, to_json(*spec));
  return answer ? 0 : complain(answer.error());
}

}  // namespace

int node(Session& s, const std::string& verb) {
  if (verb == "list" && s.flag("schedulers")) return list_command(s, "/v1/schedulers", kSchedulerColumns);
  if (verb == "list") return list_command(s, "/v1/nodes?limit=1000", kNodeColumns);
  if (verb == "resources") {
    return list_command(s, "/v1/nodes/resources",
                        {{"ARCH", "arch"},
                         {"NODES", "nodes"},
                         {"CPU", "~cpu:capacity.cpu"},
                         {"USED", "~cpu:used.cpu"},
                         {"AVAILABLE", "~cpu:available.cpu"},
                         {"MEMORY", "~bytes:capacity.memory"},
                         {"USED", "~bytes:used.memory"},
                         {"AVAILABLE", "~bytes:available.memory"}});
  }
  if (verb == "token") {
    const std::string role = s.option("role", "worker");
    std::string body = "{\"role\":" + json_text(role) + ",\"name\":" + json_text(s.option("name")) +
                       ",\"uses\":" + s.option("uses", "1") +
                       (s.option("ttl").empty() ? "" : ",\"ttl\":" + json_text(s.option("ttl"))) +
                       ",\"node_name\":" + json_text(s.option("node-name")) + "}";
    auto answer = s.call("POST", "/v1/join-tokens", body);
    if (!answer) return complain(answer.error());
    if (s.output != "table") return print_object(s, *answer);
    say(stdout, "%s\n", (*answer)["token"].text().c_str());
    if (!s.flag("quiet"))
      say(stderr, "on the new machine: tutti %s --manager %s --token TOKEN\n", role.c_str(),
          (*answer)["address"].text().c_str());
    return 0;
  }
  const std::string path = path_of("/v1/nodes", s.words[0]);
  if (verb == "show") return show(s, path);
  if (verb == "remove") return act(s, "DELETE", path + (s.flag("fenced") ? "?fenced=1" : ""));
  if (verb == "drain")
    return act(s, "POST", path + ":drain", "{\"deadline\":" + json_text(s.option("deadline", "0s")) + "}");
  if (verb == "label") return label(s, path);
  return act(s, "POST", path + ":" + verb);
}

int event(Session& s, const std::string& verb) {
  if (verb == "list") return list_command(s, "/v1/events?limit=" + s.option("limit", "50"), kEventColumns);
  auto http = s.client();
  if (!http) return complain(http.error());
  std::string path = "/v1/events?watch=1";
  if (!s.option("from").empty()) path += "&from=" + net::percent_encode(s.option("from"));
  std::string rest;
  auto over = (*http)->stream(
      s.request("GET", path),
      [&](std::string_view piece) {
        rest += piece;
        for (size_t end = 0; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
          const std::string line = rest.substr(0, end);
          if (!line.starts_with("data: ")) continue;
          auto event = Json::parse(line.substr(6));
          if (!event || (*event)["type"].text() != "created") continue;
          if (s.output == "json")
            std::printf("%s\n", (*event)["object"].raw().c_str());
          else
            say(stdout, "%s  %-20s %-24s %s\n", (*event)["object.status.time"].text().c_str(),
                (*event)["object.status.type"].text().c_str(), (*event)["object.status.object_name"].text().c_str(),
                printable((*event)["object.status.message"].text()).c_str());
          std::fflush(stdout);
        }
        return true;
      },
      seconds(24 * 3600));
  if (!over) return complain(over.error());
  return over->status >= 400 ? complain(problem_of(*over)) : 0;
}

int operation(Session& s, const std::string& verb) {
  if (verb == "list") return list_command(s, "/v1/operations?limit=1000", kOperationColumns);
  const std::string path = path_of("/v1/operations", s.words[0]);
  if (verb == "show") return show(s, path);
  if (verb == "cancel") return act(s, "POST", path + ":cancel");
  if (verb == "retry") return act(s, "POST", path + ":retry");
  auto answer = s.call("GET", path);
  if (!answer) return complain(answer.error());
  auto wrapped = Json::parse("{\"operation\":" + answer->raw() + "}");
  return s.wait_operation(*wrapped);
}

int context(Session& s, const std::string& verb) {
  auto all = load_contexts();
  if (!all) return complain(all.error());
  if (verb == "list" && s.output == "name") {
    for (const Context& c : all->contexts) say(stdout, "%s\n", c.name.c_str());
    return 0;
  }
  if (verb == "list" && s.output == "json") {
    std::string out = "{\"items\":[";  // without what is secret
    for (const Context& c : all->contexts) {
      out += (out.back() == '[' ? "" : ",") + std::string("{\"name\":") + json_text(c.name) +
             ",\"address\":" + json_text(c.address) + ",\"project\":" + json_text(c.project) +
             ",\"current\":" + (c.name == all->current ? "true" : "false") + "}";
    }
    say(stdout, "%s]}\n", out.c_str());
    return 0;
  }
  if (verb == "list") {
    std::vector<std::vector<std::string>> rows{{"", "CONTEXT", "ADDRESS", "PROJECT"}};
    for (const Context& c : all->contexts)
      rows.push_back({c.name == all->current ? "*" : "", c.name, c.address, c.project});
    print_table(rows);
    return 0;
  }
  for (const Context& c : all->contexts) {
    if (c.name != s.words[0]) continue;
    if (verb == "show")
      return say(stdout, "name: %s\naddress: %s\nproject: %s\ntoken: (set)\n", c.name.c_str(), c.address.c_str(),
                 c.project.c_str()),
             0;
    if (verb == "use")
      all->current = c.name;
    else if (verb == "delete") {
      const std::string gone = c.name;  // `c` moves with the erase
      std::erase_if(all->contexts, [&](const Context& each) { return each.name == gone; });
      if (all->current == gone) all->current = all->contexts.empty() ? "" : all->contexts.front().name;
    }
    Status saved = save_contexts(*all);
    return saved ? 0 : complain(saved.error());
  }
  return complain({ErrorCode::not_found, "there is no context '" + s.words[0] + "'", {}, 0});
}

int login_command(Session& s) {
  if (s.option("address").empty() || s.option("authority").empty()) {
    return complain({ErrorCode::invalid,
                     "usage: tutti login --address HOST:PORT --authority FILE (--credential-file FILE | --token TOKEN) "
                     "[--context NAME]",
                     {},
                     0});
  }
  auto authority = read_input(s.option("authority"));
  if (!authority) return complain(authority.error());
  std::string credential = s.option("token");
  if (credential.empty()) {
    auto read = read_input(s.option("credential-file", "-"));
    if (!read) return complain(read.error());
    credential = std::string(trim(*read));
  }
  auto context = login(s.option("address"), *authority, credential, s.option("context", "default"));
  if (!context) return complain(context.error());
  say(stdout, "logged in; context '%s' is current\n", context->name.c_str());
  return 0;
}

}  // namespace tutti::cli
