// `tutti sim replay`: a trace of a GPU cluster through the real scheduler, and how much of the GPUs is given out.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "app/roles.h"
#include "app/settings.h"
#include "app/sim/replay.h"
#include "base/text.h"
#include "base/time.h"
#include "model/codec.h"

namespace tutti::app {
namespace {

const std::vector<std::string_view> kPolicies{"fragmentation", "fgd",    "binpack", "spread",
                                              "roundrobin",    "greedy", "epvm"};

std::vector<Setting> replay_settings() {
  return {{"nodes", "", "CSV of the machines: cpu_milli, memory_mib, gpu, model"},
          {"pods", "", "CSV of the requests: cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec"},
          {"policy", "fragmentation",
           "fragmentation, fgd (the same with nothing learned), binpack, spread, roundrobin, greedy, epvm"},
          {"seeds", "10", "runs, with seeds 1 to this; the figures are their mean"},
          {"rounds", "30", "of self-play before the first run (fragmentation)"},
          {"output", "table", "table or json"}};
}

std::string figures_json(const ReplayFigures& f) {
  return fmt::format(
      R"("allocated_pct_at_90":{:.3f},"allocated_pct_at_100":{:.3f},"allocated_pct_at_130":{:.3f},"asked_pct_at_90":{:.3f},"refused_but_fits":{})",
      f.at_90, f.at_100, f.at_130, f.asked_at_90, f.refused_but_fits);
}

void print_json(const Trace& trace, const std::string& policy, const Replayed& r) {
  std::string out = fmt::format(R"({{"nodes":{},"gpus":{},"pods":{},"policy":)", trace.nodes.size(),
                                trace.capacity / kWholeDevice, trace.list.size());
  append_json_string(out, policy);
  out += fmt::format(R"(,"seeds":{},{},"learned":{},"learn_seconds":{:.1f},"seconds":{:.1f},"runs":[)", r.runs.size(),
                     figures_json(r.mean), r.learned, r.learn_seconds, r.seconds);
  for (size_t i = 0; i < r.runs.size(); ++i)
    out += fmt::format(R"({}{{"seed":{},{}}})", i == 0 ? "" : ",", i + 1, figures_json(r.runs[i]));
  std::printf("%s]}\n", out.c_str());
}

void print_table(const Trace& trace, const std::string& policy, const Replayed& r) {
  std::printf("%zu machines, %lld GPUs, %zu requests; policy %s%s\n", trace.nodes.size(),
              static_cast<long long>(trace.capacity / kWholeDevice), trace.list.size(), policy.c_str(),
              policy != "fragmentation" ? ""
              : r.learned               ? fmt::format(", learned in {:.0f} s", r.learn_seconds).c_str()
                                        : ", nothing better than FGD was learned");
  std::printf("%-6s %8s %8s %8s   %% of all GPU given out when that much was asked for\n", "SEED", "90 %", "100 %",
              "130 %");
  for (size_t i = 0; i < r.runs.size(); ++i)
    std::printf("%-6zu %8.2f %8.2f %8.2f\n", i + 1, r.runs[i].at_90, r.runs[i].at_100, r.runs[i].at_130);
  std::printf("%-6s %8.2f %8.2f %8.2f\n", "mean", r.mean.at_90, r.mean.at_100, r.mean.at_130);
  std::printf("asked for at 90 %%: %.2f; refused though a machine had room: %lld\n", r.mean.asked_at_90,
              static_cast<long long>(r.mean.refused_but_fits));
}

Status replay_as_asked(const Settings& settings) {
  const std::string policy = settings.get("policy");
  if (std::ranges::find(kPolicies, policy) == kPolicies.end()) {
    const std::string_view hint = nearest_word(policy, kPolicies);
    return fail(ErrorCode::invalid, "there is no policy '" + policy + "'" +
                                        (hint.empty() ? "" : ": did you mean '" + std::string(hint) + "'?"));
  }
  const std::string& output = settings.get("output");
  if (output != "table" && output != "json") return fail(ErrorCode::invalid, "--output is table or json");
  if (settings.get("nodes").empty() || settings.get("pods").empty())
    return fail(ErrorCode::invalid,
                "say --nodes FILE.csv and --pods FILE.csv ('tutti sim replay --help' says what is in them)");
  TUTTI_TRY(const int64_t seeds, settings.number("seeds", 1, 1'000));
  TUTTI_TRY(const int64_t rounds, settings.number("rounds", 0, 1'000));
  TUTTI_TRY(const Trace trace, read_trace(settings.get("nodes"), settings.get("pods")));
  TUTTI_TRY(const Replayed replayed, replay_all(trace, policy, seeds, rounds));
  output == "json" ? print_json(trace, policy, replayed) : print_table(trace, policy, replayed);
  return {};
}

}  // namespace

int run_replay(const std::vector<std::string>& arguments) {
  Settings settings(replay_settings());
  std::vector<std::string> words = arguments;
  for (std::string& word : words)
    if (word == "-o") word = "--output";
  if (Status loaded = settings.load(words); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf(
        "Example: tutti sim replay --nodes nodes.csv --pods pods.csv --policy fragmentation --seeds 10 -o json\n\n"
        "Plays a trace of a GPU cluster through the scheduler: the requests in random order, then draws from them, "
        "until\n"
        "130 %% of the GPUs are asked for; none leaves, what fits nowhere is dropped. Machines without a GPU are left "
        "out.\n\n%s",
        settings.help_text().c_str());
    return 0;
  }
  if (Status done = replay_as_asked(settings); !done) return complain(done.error());
  return 0;
}

}  // namespace tutti::app
