#include "cli/cli.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "base/text.h"
#include "base/version.h"
#include "cli/completion.h"
#include "cli/session.h"

namespace tutti::cli {
namespace {

int wrong_use(const std::string& message) {
  return complain({ErrorCode::invalid, message, {}, 0});
}

int completion(const Session& s) {
  const std::string shell = s.words.empty() ? "bash" : s.words[0];
  CompletionWords words;
  words.commands = command_words();
  for (const Usage& usage : usages()) {
    if (usage.verb.empty()) continue;
    if (words.nouns.empty() || words.nouns.back().noun != usage.noun)
      words.nouns.push_back({usage.noun, {}, usage.noun != "event" && usage.noun != "config" && usage.noun != "pool"});
    words.nouns.back().verbs.push_back(usage.verb);
  }
  words.nouns.push_back({"completion", {"bash", "zsh", "fish"}});
  for (const Option& option : all_options()) words.options.push_back("--" + std::string(option.name));
  const std::string script = completion_script(shell, words);
  if (script.empty()) return wrong_use("completion is for bash, zsh or fish, not '" + shell + "'");
  std::printf("%s", script.c_str());
  return 0;
}

}  // namespace

std::string help_text() {
  return R"(Example: tutti up --workers 2        then: tutti image import rootfs.tar hello:1 --rootfs && tutti run hello:1 -- echo hi

tutti up [--workers N] [--data DIR]     a whole pool on this machine
tutti bench [NAME...] [-o json]         measures it, beside its peers
tutti manager | worker | scheduler      one role, for a pool of machines (--help says more)
tutti sim fleet | replay                simulated workers against a manager; a trace of a GPU cluster, scheduled
tutti run IMAGE [CMD]                   one thing, now: its output, its exit code (-d --rm -it -p -e -v -m --cpus)
tutti ps [-a] [--job J] [--node N]      what is running; -a: what has ended too
tutti explain X                         why X is where it is, or is not anywhere
tutti job       run FILE | plan FILE | validate FILE | list | show | scale NAME [TASK=]N | stop | start | delete
                history NAME | diff NAME [A] [B] | revert NAME VERSION | promote NAME | abort NAME
                dispatch NAME [--meta K=V] [FILE|-] | periodic force NAME | list --parent NAME
tutti instance  list | show | logs [-f --tail --since] | exec [-it] X -- CMD | attach | cp | signal
                stop | start | restart | pause | unpause | suspend | resume | delete
tutti node      list | show | token | cordon | uncordon | drain | disable | enable | label | remove | resources
tutti rebalance [--apply]               what would be better off on another node; --apply moves it there
tutti image     import PATH|URL NAME:TAG | list [--all] | show | pull | push IMAGE [REGISTRY/NAME:TAG] | prune [--grace 24h] | delete
tutti pool      show | set --policy POLICY
tutti project   list | show | set NAME [--preemption] [--privileged] [--host-path PATH]
tutti event     list | watch
tutti operation list | show | wait | cancel | retry
tutti context   list | show | use | delete
tutti login | whoami | config show | completion bash|zsh|fish | version | help
As in docker: logs exec attach cp stop start restart pause unpause rm inspect (of instances), pull push images

'tutti COMMAND --help' and 'tutti job run --help' say more, each with an example.
Everywhere: --context --address --token --project, -o table|wide|json|yaml|name, -w to watch, --no-wait, --timeout 10m, -q.
Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 not found, 4 timed out, 5 could not reach the pool.
)";
}

int run_client(int argc, char** argv) {
  keep_size_changes();
  auto parsed = parse_command_line({argv + std::min(argc, 1), argv + argc});
  if (!parsed) return complain(parsed.error());
  if (!parsed->help.empty()) return std::printf("%s", parsed->help.c_str()), 0;
  if (parsed->usage == nullptr || parsed->usage->noun == "help")
    return std::printf("%s", help_text().c_str()), argc < 2 ? 2 : 0;
  Session s;
  s.invocation = std::move(*parsed);
  s.words = s.invocation.words;
  const std::string noun(s.invocation.usage->noun);
  const std::string verb(s.invocation.usage->verb);
  if (noun == "version") return std::printf("tutti %s\n", std::string(program_version()).c_str()), 0;
  if (noun == "completion") return completion(s);
  if (const char* output = std::getenv("TUTTI_OUTPUT")) s.output = output;
  s.output = s.option("output", s.output);
  for (const Option& option : all_options()) {
    if (option.kind != ValueKind::format) continue;
    if (Status known = check_value(option, s.output); !known) return complain(known.error());
  }
  if (s.output == "wide") s.output = "table";
  if (noun == "context") return context(s, verb);
  if (noun == "login") return login_command(s);
  if (Status connected = s.connect(); !connected) return complain(connected.error());
  const std::map<std::string, std::function<int(Session&, const std::string&)>> nouns = {
      {"job", job},   {"instance", instance}, {"node", node},   {"image", image},
      {"pool", pool}, {"project", project},   {"event", event}, {"operation", operation}};
  if (nouns.contains(noun)) return nouns.at(noun)(s, verb);
  if (noun == "ps") return ps(s);
  if (noun == "explain") return explain(s);
  if (noun == "run") return run(s);
  if (noun == "rebalance") return rebalance(s);
  auto answer = s.call("GET", "/v1/whoami");
  return answer ? print_object(s, *answer) : complain(answer.error());
}

}  // namespace tutti::cli
