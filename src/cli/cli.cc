#include "cli/cli.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "base/text.h"
#include "cli/completion.h"
#include "cli/session.h"

namespace tutti::cli {
namespace {

struct Option {
  std::string name;       // "follow"
  char letter;            // 0: none
  bool value;             // takes one
  bool repeated = false;  // may come several times
};
const std::vector<Option> kOptions = {
    {"context", 0, true}, {"address", 0, true}, {"authority", 0, true}, {"token", 0, true}, {"project", 0, true}, {"output", 'o', true}, {"watch", 'w', false},
    {"wait", 0, false}, {"no-wait", 0, false}, {"timeout", 0, true}, {"quiet", 'q', false}, {"verbose", 'v', false}, {"yes", 'y', false}, {"follow", 'f', false},
    {"tail", 0, true}, {"since", 0, true}, {"task", 0, true}, {"tty", 't', false}, {"interactive", 'i', false}, {"detach", 'd', false}, {"rm", 0, false},
    {"env", 'e', true, true}, {"port", 'p', true, true}, {"memory", 'm', true}, {"cpus", 0, true}, {"name", 0, true}, {"driver", 0, true}, {"network", 0, true},
    {"uses", 0, true}, {"ttl", 0, true}, {"node-name", 0, true}, {"deadline", 0, true}, {"fenced", 0, false}, {"entrypoint", 0, true}, {"cmd", 0, true},
    {"rootfs", 0, false}, {"limit", 0, true}, {"from", 0, true}, {"all", 'a', false}, {"job", 0, true}, {"node", 0, true}, {"credential-file", 0, true},
    {"service", 0, false}, {"grace", 0, true}, {"username", 0, true}, {"password-stdin", 0, false}, {"help", 'h', false}};

const std::vector<std::string_view> kCommands = {"up", "manager", "worker", "bench", "sim", "run", "ps", "explain", "job", "instance", "node", "image", "event", "operation",
                                                 "context", "login", "whoami", "config", "completion", "version", "help"};

int wrong_use(const std::string& message) {
  std::fprintf(stderr, "tutti: %s\n", message.c_str());
  return 2;
}

// Fills the session; −1 when all is well.
int parse(int argc, char** argv, Session& s, std::vector<std::string>& words) {
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--") {
      s.command.assign(argv + i + 1, argv + argc);
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      words.push_back(word);
      continue;
    }
    // -it is -i -t
    if (word[1] != '-' && word.size() > 2) {
      bool flags = true;
      for (size_t c = 1; c < word.size(); ++c) {
        bool known = false;
        for (const Option& option : kOptions) known = known || (option.letter == word[c] && !option.value);
        flags = flags && known;
      }
      if (flags) {
        for (size_t c = 1; c < word.size(); ++c) {
          for (const Option& option : kOptions) {
            if (option.letter == word[c]) s.options[option.name] = "true";
          }
        }
        continue;
      }
    }
    std::string value;
    bool has_value = false;
    if (const size_t at = word.find('='); at != std::string::npos && word.starts_with("--")) value = word.substr(at + 1), word.resize(at), has_value = true;
    const Option* found = nullptr;
    for (const Option& option : kOptions) {
      if (word == "--" + option.name || (option.letter != 0 && word == std::string("-") + option.letter)) found = &option;
    }
    if (found == nullptr) {
      std::vector<std::string> names;
      std::vector<std::string_view> views;
      for (const Option& option : kOptions) names.push_back("--" + option.name);
      for (const std::string& name : names) views.push_back(name);
      const std::string_view nearest = nearest_word(word, views);
      return wrong_use("there is no option '" + word + "'" + (nearest.empty() ? "" : ": did you mean '" + std::string(nearest) + "'?"));
    }
    if (found->value && !has_value) {
      if (i + 1 >= argc) return wrong_use(word + " needs a value");
      value = argv[++i];
    }
    if (found->repeated) s.repeated.emplace_back(found->name, value);
    else s.options[found->name] = found->value || has_value ? value : "true";
  }
  return -1;
}

int completion(const Session& s) {
  const std::string shell = s.words.empty() ? "bash" : s.words[0];
  CompletionWords words;
  words.commands = kCommands;
  words.nouns = {{"job", {"run", "list", "show", "validate", "plan", "scale", "stop", "start", "history", "diff", "revert", "promote", "abort", "delete"}, true},
                 {"instance", {"list", "show", "logs", "exec", "attach", "stop", "start", "restart", "pause", "unpause", "suspend", "resume", "delete", "signal", "cp"}, true},
                 {"node", {"list", "show", "token", "cordon", "uncordon", "drain", "disable", "enable", "label", "remove", "resources"}, true},
                 {"image", {"import", "list", "show", "pull", "push", "prune", "delete"}, true},
                 {"event", {"list", "watch"}},
                 {"operation", {"list", "show", "wait", "cancel", "retry"}, true},
                 {"context", {"list", "show", "use", "delete"}, true},
                 {"config", {"show"}},
                 {"completion", {"bash", "zsh", "fish"}}};
  for (const Option& option : kOptions) words.options.push_back("--" + option.name);
  const std::string script = completion_script(shell, words);
  if (script.empty()) return wrong_use("completion is for bash, zsh or fish, not '" + shell + "'");
  std::printf("%s", script.c_str());
  return 0;
}

}  // namespace

std::string help_text() {
  return R"(Example: tutti up --workers 2        then: tutti run busybox -- echo hello

tutti up [--workers N] [--data DIR]     a whole pool on this machine
tutti bench [NAME...] [-o json]         measures it, beside its peers
tutti manager | worker                  one role, for a pool of machines (--help says more)
tutti run IMAGE [-- CMD]                one thing, now: its output, its exit code (-d --rm -it -p -e -m --cpus)
tutti ps [--all] [--job J] [--node N]   what is running
tutti explain X                         why X is where it is, or is not anywhere
tutti job       run FILE | plan FILE | validate FILE | list | show | scale NAME [TASK=]N | stop | start | delete
                history NAME | diff NAME [A] [B] | revert NAME VERSION | promote NAME | abort NAME
tutti instance  list | show | logs [-f --tail --since] | exec [-it] X -- CMD | attach | cp | signal
                stop | start | restart | pause | unpause | suspend | resume | delete
tutti node      list | show | token | cordon | uncordon | drain | disable | enable | label | remove | resources
tutti image     import PATH|URL NAME:TAG | list [--all] | show | pull | push IMAGE [REGISTRY/NAME:TAG] | prune [--grace 24h] | delete
tutti event     list | watch
tutti operation list | show | wait | cancel | retry
tutti context   list | show | use | delete
tutti login | whoami | config show | completion bash|zsh|fish | version

Everywhere: --context --address --token --project, -o table|wide|json|yaml|name, -w to watch, --no-wait, --timeout 10m, -q.
Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 not found, 4 timed out, 5 could not reach the pool.
)";
}

int run_client(int argc, char** argv) {
  Session s;
  std::vector<std::string> words;
  if (int bad = parse(argc, argv, s, words); bad >= 0) return bad;
  if (words.empty() || words[0] == "help" || s.flag("help")) return std::printf("%s", help_text().c_str()), words.empty() && !s.flag("help") ? 2 : 0;
  std::string noun = words[0];
  if (noun == "version") return std::printf("tutti 0.1.0\n"), 0;
  std::vector<std::string_view> known = kCommands;
  if (std::find(known.begin(), known.end(), noun) == known.end() && noun.ends_with("s")) noun.pop_back();
  if (std::find(known.begin(), known.end(), noun) == known.end()) {
    const std::string_view nearest = nearest_word(words[0], known);
    return wrong_use("there is no command '" + words[0] + "'" + (nearest.empty() ? "" : ": did you mean '" + std::string(nearest) + "'?") + "; 'tutti help' lists them");
  }
  if (const char* output = std::getenv("TUTTI_OUTPUT")) s.output = output;
  s.output = s.option("output", s.output);
  if (s.output == "wide") s.output = "table";
  if (s.output != "table" && s.output != "json" && s.output != "yaml" && s.output != "name") return wrong_use("-o takes table, wide, json, yaml or name, not '" + s.output + "'");
  s.words.assign(words.begin() + 1, words.end());
  if (noun == "completion") return completion(s);
  const std::map<std::string, std::function<int(Session&, const std::string&)>> nouns = {
      {"job", job}, {"instance", instance}, {"node", node}, {"image", image}, {"event", event}, {"operation", operation}, {"context", context}};
  std::string verb = "list";
  if (nouns.contains(noun) && !s.words.empty()) verb = s.words[0], s.words.erase(s.words.begin());
  if (noun == "context") return context(s, verb);
  if (noun == "login") return login_command(s);
  if (Status connected = s.connect(); !connected) return complain(connected.error());
  if (nouns.contains(noun)) return nouns.at(noun)(s, verb);
  if (noun == "ps") return ps(s);
  if (noun == "explain") return explain(s);
  if (noun == "run") return run(s);
  if (noun == "whoami") {
    auto answer = s.call("GET", "/v1/whoami");
    return answer ? print_object(s, *answer) : complain(answer.error());
  }
  return wrong_use("'tutti " + noun + "' takes more words: see 'tutti help'");
}

}  // namespace tutti::cli
