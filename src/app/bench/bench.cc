#include "app/bench/bench.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "app/roles.h"
#include "base/text.h"
#include "base/time.h"
#include "model/codec.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::app {
namespace bench {

const std::vector<Bench>& benches() {
  static const std::vector<Bench> all = {
      {"start", "submit to running of one container on a bridge, beside bare crun", bench_start},
      {"many", "100 containers of one job, beside bare crun", bench_many},
      {"loss", "a worker killed: until its work runs on another", bench_loss},
      {"api", "requests of the API over TLS", bench_api},
      {"submit", "jobs stored durably, beside bare writes to the same disk", bench_submit},
      {"memory", "an idle manager and an idle worker", bench_memory},
      {"state", "the state with 2,000,000 instances, beside one with 100", bench_state},
      {"scheduler", "placements a second, one thread", bench_scheduler},
      {"steady", "10,000 simulated workers: heartbeats, 1,000 submits a second, watchers, a list of 20,000",
       bench_steady},
      {"fleet", "2,000,000 instances on 6,100 simulated workers, and what one more costs", bench_fleet},
      {"gpu", "how much of a small GPU cluster is given out, beside other policies", bench_gpu},
  };
  return all;
}

Figure plain(std::string name, double value, std::string unit) {
  return {std::move(name), value, std::move(unit), "", {}, "", {}, ""};
}
Figure below(std::string name, double value, std::string unit, double target) {
  Figure out = plain(std::move(name), value, std::move(unit));
  out.target = fmt::format("< {:g}", target);
  out.met = value < target;
  return out;
}
Figure above(std::string name, double value, std::string unit, double target) {
  Figure out = plain(std::move(name), value, std::move(unit));
  out.target = fmt::format("> {:g}", target);
  out.met = value > target;
  return out;
}

double quantile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(p * static_cast<double>(values.size())));
  const size_t at = std::clamp<size_t>(rank, 1, values.size()) - 1;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}
BootTime now() {
  return SystemClock().boot_now();
}
double seconds_since(BootTime start) {
  return static_cast<double>((now() - start).ns) / 1e9;
}

}  // namespace bench

namespace {

using bench::Figure;

std::string json_of(const Figure& f) {
  std::string out = "{\"name\":";
  append_json_string(out, f.name);
  out += fmt::format(",\"value\":{:.6g},\"unit\":", f.value);
  append_json_string(out, f.unit);
  auto text = [&](const char* key, const std::string& value) {
    if (value.empty()) return;
    out += fmt::format(",\"{}\":", key);
    append_json_string(out, value);
  };
  text("target", f.target);
  if (f.met) out += *f.met ? ",\"met\":true" : ",\"met\":false";
  text("peer", f.peer);
  if (f.peer_value) out += fmt::format(",\"peer_value\":{:.6g}", *f.peer_value);
  text("note", f.note);
  return out + "}";
}

std::string number(double value) {
  const int digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return fmt::format("{:.{}f}", value, digits);
}

void print_row(const Figure& f) {
  std::string beside = f.peer_value ? f.peer + " " + number(*f.peer_value) : f.note;
  if (f.peer_value && !f.note.empty()) beside += "; " + f.note;
  std::printf("%-28s %10s %-5s %-10s %-6s %s\n", f.name.c_str(), number(f.value).c_str(), f.unit.c_str(),
              f.target.c_str(), f.met ? (*f.met ? "met" : "MISSED") : "", beside.c_str());
  std::fflush(stdout);
}

int usage() {
  std::printf(
      "Example: tutti bench start memory -o json\n\n"
      "Measures this executable on this machine, in pools of its own that are gone afterwards. Needs root.\n\n"
      "  -o table|json   how the figures are printed\n"
      "  --quick         few repetitions: to see that it works, not to quote\n"
      "  --list          the benches\n\n");
  for (const bench::Bench& each : bench::benches()) std::printf("  %-10s %s\n", each.name.c_str(), each.about.c_str());
  return 0;
}

struct Wanted {
  std::vector<const bench::Bench*> benches;
  bench::Options options;
  bool json = false;
};

Result<Wanted> parse(const std::vector<std::string>& arguments) {
  Wanted out;
  std::vector<std::string> names;
  for (const bench::Bench& each : bench::benches()) names.push_back(each.name);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--quick") {
      out.options.quick = true;
    } else if (word == "-o" || word == "--output") {
      const std::string format = i + 1 < arguments.size() ? arguments[++i] : "";
      if (format != "json" && format != "table") return fail(ErrorCode::invalid, "-o is table or json");
      out.json = format == "json";
    } else {
      const auto found = std::find(names.begin(), names.end(), word);
      if (found == names.end()) {
        const std::string hint(nearest_word(word, {names.begin(), names.end()}));
        return fail(
            ErrorCode::invalid,
            "no bench '" + word + "'" + (hint.empty() ? ": see tutti bench --list" : ", did you mean '" + hint + "'?"));
      }
      out.benches.push_back(&bench::benches()[static_cast<size_t>(found - names.begin())]);
    }
  }
  if (out.benches.empty()) {
    for (const bench::Bench& each : bench::benches()) out.benches.push_back(&each);
  }
  return out;
}

// The pools and fleets of a bench that is interrupted end with it: it works in a process group of its own, below one
// that only waits for it or for a signal, and in a folder that goes with it. Returns in the former.
std::optional<int> wait_above() {
  std::string folder = std::filesystem::temp_directory_path() / "tutti-bench-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return complain({ErrorCode::io, "no temporary folder " + folder});
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  block_signals();
  const pid_t child = fork();
  if (child < 0) return complain({ErrorCode::io, "no process for the bench"});
  if (child == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    setenv("TMPDIR", folder.c_str(), 1);
    return std::nullopt;
  }
  setpgid(child, child);
  const auto ended = sys::pidfd_open(child);
  while (ended && !sys::pidfd_wait(ended->get(), Duration{0})) {
    if (wait_for_signal(100) == 0) continue;
    kill(-child, SIGTERM);
    break;
  }
  const int code = sys::reap(child).value_or(1);
  // What it has started goes on for as long as it takes to stop.
  for (int i = 0; i < 600 && kill(-child, 0) == 0; ++i) (void)wait_for_signal(100);
  (void)sys::remove_tree(folder);
  return code;
}

}  // namespace

int run_bench(const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    if (word == "--help" || word == "-h" || word == "--list") return usage();
  }
  Result<Wanted> wanted = parse(arguments);
  if (!wanted) return complain(wanted.error());
  if (const std::optional<int> code = wait_above()) return *code;
  bool failed = false;
  bool first = true;
  if (wanted->json)
    std::printf("{\"items\":[");
  else
    std::printf("%-28s %10s %-5s %-10s %-6s %s\n", "FIGURE", "VALUE", "UNIT", "TARGET", "", "BESIDE");
  for (const bench::Bench* each : wanted->benches) {
    auto figures = each->run(wanted->options);
    if (!figures) {
      std::fprintf(stderr, "tutti: bench %s: %s\n", each->name.c_str(), figures.error().to_string().c_str());
      failed = true;
      continue;
    }
    for (const Figure& f : *figures) {
      if (!wanted->json)
        print_row(f);
      else
        std::printf("%s\n%s", std::exchange(first, false) ? "" : ",", json_of(f).c_str());
    }
  }
  if (wanted->json) std::printf("\n]}\n");
  return failed ? 1 : 0;
}

}  // namespace tutti::app
