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

#include "base/random.h"
#include "base/text.h"
#include "cli/session.h"

namespace tutti::cli {
namespace {

const std::vector<Column> kInstanceColumns = {{"INSTANCE", "name"}, {"STATE", "status.state"}, {"NODE", "status.node"}, {"IMAGE", "status.image"},
                                              {"PORTS", "~ports"}, {"RESTARTS", "status.restarts"}, {"AGE", "~age:created"}, {"REASON", "status.reason"}};
const std::vector<Column> kJobColumns = {{"JOB", "name"}, {"TYPE", "status.type"}, {"STATE", "status.state"}, {"RUNNING", "~count"},
                                         {"PENDING", "status.pending"}, {"COMPLETED", "status.completed"}, {"FAILED", "status.failed"}, {"VERSION", "version"}, {"AGE", "~age:created"}};
const std::vector<Column> kNodeColumns = {{"NODE", "name"}, {"HEALTH", "status.health"}, {"ELIGIBLE", "spec.eligibility"}, {"ADDRESS", "status.address"}, {"ARCH", "status.arch"},
                                          {"CPU", "~cpu"}, {"MEMORY", "~memory"}, {"INSTANCES", "status.instances"}, {"DRIVERS", "~drivers"}, {"VERSION", "status.version"}};
const std::vector<Column> kEventColumns = {{"TIME", "status.time"}, {"TYPE", "status.type"}, {"OBJECT", "status.object_name"}, {"MESSAGE", "status.message"}};
const std::vector<Column> kOperationColumns = {{"OPERATION", "id"}, {"KIND", "status.operation"}, {"STATE", "status.state"}, {"PROGRESS", "status.progress"}, {"MESSAGE", "status.message"}, {"AGE", "~age:created"}};

int show(Session& s, const std::string& path) {
  auto answer = s.call("GET", path);
  if (!answer) return complain(answer.error());
  return print_object(s, *answer);
}

int submit_file(Session& s, const std::string& path) {
  if (int bad = need(s, 1, "job run FILE (or -)")) return bad;
  bool ok = true;
  const std::string text = read_input(s.words[0], ok);
  if (!ok) return complain({ErrorCode::not_found, "cannot read " + s.words[0], {}, 0});
  auto answer = s.call("POST", path, text, text.starts_with("{") ? "application/json" : "application/yaml");
  if (!answer) return complain(answer.error());
  if (path == "/v1/jobs:validate") return print_object(s, *answer);
  if (!s.flag("quiet")) std::printf("job %s: version %s\n", (*answer)["object.name"].text().c_str(), (*answer)["object.version"].text().c_str());
  std::fflush(stdout);
  return s.wait_operation(*answer);
}

}  // namespace

std::string read_input(const std::string& file, bool& ok) {
  ok = true;
  if (file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::string out;
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    ok = false;
    return out;
  }
  char buffer[8192];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) out.append(buffer, static_cast<size_t>(n));
  ::close(fd);
  return out;
}

bool is_number(const std::string& text) { return !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos; }

int need(const Session& s, size_t count, const char* usage) {
  if (s.words.size() >= count) return 0;
  std::fprintf(stderr, "tutti: usage: tutti %s\n", usage);
  return 2;
}

int unknown_verb(const std::string& noun, const std::string& verb, const std::vector<std::string_view>& verbs) {
  const std::string_view nearest = nearest_word(verb, verbs);
  std::string all;
  for (std::string_view each : verbs) all += (all.empty() ? "" : ", ") + std::string(each);
  std::fprintf(stderr, "tutti: %s has no verb '%s'%s%s%s; there are: %s\n", noun.c_str(), verb.c_str(), nearest.empty() ? "" : ": did you mean '",
               std::string(nearest).c_str(), nearest.empty() ? "" : "'?", all.c_str());
  return 2;
}

std::string path_of(const std::string& base, const std::string& name) { return base + "/" + net::percent_encode(name); }

// A verb that starts an operation: say what was asked for, wait, done.
int act(Session& s, const std::string& method, const std::string& path, const std::string& body) {
  auto answer = s.call(method, path, body);
  if (!answer) return complain(answer.error());
  return s.wait_operation(*answer);
}

int list_command(Session& s, const std::string& path, const std::vector<Column>& columns) {
  auto answer = s.call("GET", path);
  if (!answer) return complain(answer.error());
  print_list(s, *answer, columns, answer->raw());
  if (!s.flag("watch")) return 0;
  // Shown again whenever something of this kind changes; nothing is polled.
  auto http = s.client();
  if (!http) return complain(http.error());
  const std::string kind = path.substr(0, path.find('?'));
  net::Request watch = s.request("GET", kind + "?watch=1&from=" + net::percent_encode((*answer)["revision"].text()));
  auto over = (*http)->stream(watch, [&](std::string_view piece) {
    if (piece.find("event: created") == std::string_view::npos && piece.find("event: updated") == std::string_view::npos && piece.find("event: deleted") == std::string_view::npos) return true;
    auto again = s.call("GET", path);
    if (!again) return false;
    std::printf("%s", ::isatty(STDOUT_FILENO) != 0 ? "\033[H\033[J" : "\n");
    print_list(s, *again, columns, again->raw());
    std::fflush(stdout);
    return true;
  }, seconds(3600));
  return over ? 0 : complain(over.error());
}

int ps(Session& s) {
  std::string path = "/v1/instances?limit=1000";
  if (s.flag("all")) path += "&all=1";
  if (!s.option("job").empty()) path += "&job=" + net::percent_encode(s.option("job"));
  if (!s.option("node").empty()) path += "&node=" + net::percent_encode(s.option("node"));
  return list_command(s, path, kInstanceColumns);
}

int explain(Session& s) {
  if (int bad = need(s, 1, "explain INSTANCE|JOB")) return bad;
  auto answer = s.call("GET", path_of("/v1/instances", s.words[0]) + "/explain");
  if (!answer) return complain(answer.error());
  if (s.output != "table") return print_object(s, *answer);
  const Json& e = *answer;
  std::printf("%s: %s", e["name"].text().c_str(), e["state"].text().c_str());
  if (!e["pending_since"].text().empty()) std::printf(" since %s", e["pending_since"].text().c_str());
  std::printf("\n%s of %s nodes would do\n", e["nodes_feasible"].text().c_str(), e["nodes_total"].text().c_str());
  for (const Json& reason : e["reasons"].items()) std::printf("  %s: %s\n", reason["nodes"].text().c_str(), reason["reason"].text().c_str());
  if (!e["nearest_node"].text().empty()) std::printf("nearest: %s lacks %s\n", e["nearest_node"].text().c_str(), e["nearest_lacks"].text().c_str());
  for (const Json& remedy : e["remedies"].items()) std::printf("  → %s\n", remedy.text().c_str());
  return 0;
}

int job(Session& s, const std::string& verb) {
  if (verb == "list") return list_command(s, "/v1/jobs?limit=1000", kJobColumns);
  if (verb == "run") return submit_file(s, "/v1/jobs");
  if (verb == "validate") return submit_file(s, "/v1/jobs:validate");
  if (verb == "plan") return job_plan(s);
  if (int bad = need(s, 1, ("job " + verb + " NAME").c_str())) return bad;
  const std::string path = path_of("/v1/jobs", s.words[0]);
  if (verb == "show") return show(s, path);
  if (verb == "stop" || verb == "start" || verb == "promote" || verb == "abort") return act(s, "POST", path + ":" + verb);
  if (verb == "delete") return act(s, "DELETE", path);
  if (verb == "diff") return job_diff(s, path);
  if (verb == "revert") {
    if (int bad = need(s, 2, "job revert NAME VERSION")) return bad;
    const std::string& version = s.words[1];
    if (!is_number(version)) return complain({ErrorCode::invalid, "'" + version + "' is not a version: 'tutti job history' lists them", {}, 0});
    return act(s, "POST", path + ":revert", "{\"version\":" + version + "}");
  }
  if (verb == "history") return list_command(s, path + "/versions", {{"VERSION", "~version"}, {"STATE", "status.state"}, {"CREATED", "created"}, {"ERROR", "status.error"}});
  if (verb == "scale") {
    if (int bad = need(s, 2, "job scale NAME [TASK=]COUNT")) return bad;
    const size_t at = s.words[1].find('=');
    const std::string group = at == std::string::npos ? "" : s.words[1].substr(0, at);
    const std::string count = at == std::string::npos ? s.words[1] : s.words[1].substr(at + 1);
    if (count.empty() || count.find_first_not_of("0123456789") != std::string::npos) return complain({ErrorCode::invalid, "'" + count + "' is not a count", {}, 0});
    return act(s, "POST", path + ":scale", "{\"group\":" + json_text(group) + ",\"count\":" + count + "}");
  }
  return unknown_verb("job", verb, {"run", "list", "show", "validate", "plan", "scale", "stop", "start", "history", "diff", "revert", "promote", "abort", "delete"});
}

int instance(Session& s, const std::string& verb) {
  if (verb == "list") return ps(s);
  if (verb == "cp") return copy(s);
  static const std::vector<std::string_view> verbs = {"list", "show", "logs", "exec", "attach", "stop", "start", "restart", "pause", "unpause", "suspend", "resume", "delete", "signal", "cp"};
  if (std::find(verbs.begin(), verbs.end(), verb) == verbs.end()) return unknown_verb("instance", verb, verbs);
  if (int bad = need(s, 1, ("instance " + verb + " INSTANCE").c_str())) return bad;
  const std::string path = path_of("/v1/instances", s.words[0]);
  if (verb == "show") return show(s, path);
  if (verb == "delete") return act(s, "DELETE", path);
  if (verb == "logs") return logs(s, s.words[0], s.flag("follow"), s.option("tail").empty() ? -1 : std::atoll(s.option("tail").c_str()));
  if (verb == "signal") {
    if (int bad = need(s, 2, "instance signal INSTANCE SIGNAL")) return bad;
    auto answer = s.call("POST", path + ":signal", "{\"signal\":" + json_text(s.words[1]) + "}");
    return answer ? 0 : complain(answer.error());
  }
  if (verb == "exec" || verb == "attach") {
    std::vector<std::string> command = s.command;
    if (command.empty()) command.assign(s.words.begin() + 1, s.words.end());
    if (verb == "exec" && command.empty()) return need(s, 99, "instance exec [-it] INSTANCE -- COMMAND");
    const bool tty = s.flag("tty");
    std::string request = "{\"command\":[";
    for (size_t i = 0; i < command.size(); ++i) request += (i > 0 ? "," : "") + json_text(command[i]);
    request += "],\"task\":" + json_text(s.option("task")) + ",\"tty\":" + (tty ? "true" : "false") + ",\"stdin_open\":" + (s.flag("interactive") ? "true" : "false") + "}";
    return interactive(s, path + "/" + verb + "?request=" + net::percent_encode(request), tty, s.flag("interactive") || verb == "attach");
  }
  return act(s, "POST", path + ":" + verb);
}

int node(Session& s, const std::string& verb) {
  if (verb == "list") return list_command(s, "/v1/nodes?limit=1000", kNodeColumns);
  if (verb == "resources") {
    return list_command(s, "/v1/nodes/resources", {{"ARCH", "arch"}, {"NODES", "nodes"}, {"CPU", "~cpu:capacity.cpu"}, {"USED", "~cpu:used.cpu"}, {"AVAILABLE", "~cpu:available.cpu"},
                                                   {"MEMORY", "~bytes:capacity.memory"}, {"USED", "~bytes:used.memory"}, {"AVAILABLE", "~bytes:available.memory"}});
  }
  if (verb == "token") {
    std::string body = "{\"name\":" + json_text(s.option("name", "join")) + ",\"uses\":" + s.option("uses", "1") + ",\"ttl\":" + json_text(s.option("ttl", "1h")) + ",\"node_name\":" + json_text(s.option("node-name")) + "}";
    auto answer = s.call("POST", "/v1/join-tokens", body);
    if (!answer) return complain(answer.error());
    if (s.output != "table") return print_object(s, *answer);
    std::printf("%s\n", (*answer)["token"].text().c_str());
    if (!s.flag("quiet")) std::fprintf(stderr, "on the new machine: tutti worker --manager %s --token TOKEN\n", (*answer)["address"].text().c_str());
    return 0;
  }
  static const std::vector<std::string_view> verbs = {"list", "show", "token", "cordon", "uncordon", "drain", "disable", "enable", "label", "remove", "resources"};
  if (std::find(verbs.begin(), verbs.end(), verb) == verbs.end()) return unknown_verb("node", verb, verbs);
  if (int bad = need(s, 1, ("node " + verb + " NODE").c_str())) return bad;
  const std::string path = path_of("/v1/nodes", s.words[0]);
  if (verb == "show") return show(s, path);
  if (verb == "remove") return act(s, "DELETE", path + (s.flag("fenced") ? "?fenced=1" : ""));
  if (verb == "drain") return act(s, "POST", path + ":drain", "{\"deadline\":" + json_text(s.option("deadline", "0s")) + "}");
  if (verb == "label") {
    auto present = s.call("GET", path);
    if (!present) return complain(present.error());
    std::map<std::string, std::string> labels;
    const Json spec = (*present)["spec"];
    std::string body = spec.raw();
    std::string change;
    for (size_t i = 1; i < s.words.size(); ++i) {
      const size_t at = s.words[i].find('=');
      if (at == std::string::npos) return complain({ErrorCode::invalid, "write labels as KEY=VALUE, not '" + s.words[i] + "'", {}, 0});
      change += "," + json_text(s.words[i].substr(0, at)) + ":" + json_text(s.words[i].substr(at + 1));
    }
    const std::string old = spec["labels"].raw();
    std::string next = old.substr(0, old.size() - 1) + (old == "{}" ? change.substr(std::min<size_t>(1, change.size())) : change) + "}";
    const size_t at = body.find("\"labels\":" + old);
    if (at != std::string::npos) body.replace(at + 9, old.size(), next);
    auto answer = s.call("PATCH", path, body);
    return answer ? 0 : complain(answer.error());
  }
  return act(s, "POST", path + ":" + verb);
}

int event(Session& s, const std::string& verb) {
  if (verb == "list") return list_command(s, "/v1/events?limit=" + s.option("limit", "50"), kEventColumns);
  if (verb != "watch") return unknown_verb("event", verb, {"list", "watch"});
  auto http = s.client();
  if (!http) return complain(http.error());
  std::string path = "/v1/events?watch=1";
  if (!s.option("from").empty()) path += "&from=" + net::percent_encode(s.option("from"));
  std::string rest;
  auto over = (*http)->stream(s.request("GET", path), [&](std::string_view piece) {
    rest += piece;
    for (size_t end = 0; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
      const std::string line = rest.substr(0, end);
      if (!line.starts_with("data: ")) continue;
      auto event = Json::parse(line.substr(6));
      if (!event || (*event)["type"].text() != "created") continue;
      if (s.output == "json") std::printf("%s\n", (*event)["object"].raw().c_str());
      else std::printf("%s  %-20s %-24s %s\n", (*event)["object.status.time"].text().c_str(), (*event)["object.status.type"].text().c_str(),
                       (*event)["object.status.object_name"].text().c_str(), (*event)["object.status.message"].text().c_str());
      std::fflush(stdout);
    }
    return true;
  }, seconds(24 * 3600));
  if (!over) return complain(over.error());
  return over->status >= 400 ? complain(problem_of(*over)) : 0;
}

int operation(Session& s, const std::string& verb) {
  if (verb == "list") return list_command(s, "/v1/operations?limit=1000", kOperationColumns);
  static const std::vector<std::string_view> verbs = {"list", "show", "wait", "cancel", "retry"};
  if (std::find(verbs.begin(), verbs.end(), verb) == verbs.end()) return unknown_verb("operation", verb, verbs);
  if (int bad = need(s, 1, ("operation " + verb + " ID").c_str())) return bad;
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
    for (const Context& c : all->contexts) std::printf("%s\n", c.name.c_str());
    return 0;
  }
  if (verb == "list" && s.output == "json") {
    std::string out = "{\"items\":[";  // without what is secret
    for (const Context& c : all->contexts) {
      out += (out.back() == '[' ? "" : ",") + std::string("{\"name\":") + json_text(c.name) + ",\"address\":" + json_text(c.address) + ",\"project\":" + json_text(c.project) +
             ",\"current\":" + (c.name == all->current ? "true" : "false") + "}";
    }
    std::printf("%s]}\n", out.c_str());
    return 0;
  }
  if (verb == "list") {
    std::vector<std::vector<std::string>> rows{{"", "CONTEXT", "ADDRESS", "PROJECT"}};
    for (const Context& c : all->contexts) rows.push_back({c.name == all->current ? "*" : "", c.name, c.address, c.project});
    print_table(rows);
    return 0;
  }
  if (int bad = need(s, 1, ("context " + verb + " NAME").c_str())) return bad;
  for (const Context& c : all->contexts) {
    if (c.name != s.words[0]) continue;
    if (verb == "show") return std::printf("name: %s\naddress: %s\nproject: %s\ntoken: (set)\n", c.name.c_str(), c.address.c_str(), c.project.c_str()), 0;
    if (verb == "use") all->current = c.name;
    else if (verb == "delete") {
      const std::string gone = c.name;  // `c` moves with the erase
      std::erase_if(all->contexts, [&](const Context& each) { return each.name == gone; });
      if (all->current == gone) all->current = all->contexts.empty() ? "" : all->contexts.front().name;
    } else return unknown_verb("context", verb, {"list", "show", "use", "delete"});
    Status saved = save_contexts(*all);
    return saved ? 0 : complain(saved.error());
  }
  return complain({ErrorCode::not_found, "there is no context '" + s.words[0] + "'", {}, 0});
}

int login_command(Session& s) {
  if (s.option("address").empty() || s.option("authority").empty()) {
    std::fprintf(stderr, "tutti: usage: tutti login --address HOST:PORT --authority FILE (--credential-file FILE | --token TOKEN) [--context NAME]\n");
    return 2;
  }
  bool ok = true;
  const std::string authority = read_input(s.option("authority"), ok);
  if (!ok) return complain({ErrorCode::not_found, "cannot read " + s.option("authority"), {}, 0});
  std::string credential = s.option("token");
  if (credential.empty()) credential = std::string(trim(read_input(s.option("credential-file", "-"), ok)));
  if (!ok) return complain({ErrorCode::not_found, "cannot read " + s.option("credential-file"), {}, 0});
  auto context = login(s.option("address"), authority, credential, s.option("context", "default"));
  if (!context) return complain(context.error());
  std::printf("logged in; context '%s' is current\n", context->name.c_str());
  return 0;
}

}  // namespace tutti::cli
