// What part of a small GPU cluster is given out: the policy fragmentation beside FGD and binpack, on the same arrivals.
// The list is test/data/gpu, our own, put into the executable; it needs no root and no pool.
#include "app/bench/bench.h"
#include "app/bench/gpu_list.h"
#include "app/sim/replay.h"

namespace tutti::app::bench {
namespace {

Figure beside(const std::string& name, double value, const std::string& peer, double peer_value) {
  Figure out = above("gpu." + name, value, "%", peer_value);
  out.target = ">= " + peer;
  out.met = value >= peer_value;
  out.peer = peer, out.peer_value = peer_value;
  return out;
}

}  // namespace

Result<std::vector<Figure>> bench_gpu(const Options& options) {
  TUTTI_TRY(const Trace trace, parse_trace(kGpuNodes, "nodes.csv", kGpuRequests, "pods.csv"));
  const int64_t seeds = options.quick ? 3 : 10;
  std::vector<Figure> out;
  TUTTI_TRY(const Replayed learned, replay_all(trace, "fragmentation", seeds, scheduler::Lessons().rounds));
  int64_t refused = learned.mean.refused_but_fits;
  for (const char* peer : {"fgd", "binpack"}) {
    TUTTI_TRY(const Replayed other, replay_all(trace, peer, seeds, 0));
    out.push_back(beside(std::string("at_90_vs_") + peer, learned.mean.at_90, peer, other.mean.at_90));
    out.push_back(beside(std::string("at_100_vs_") + peer, learned.mean.at_100, peer, other.mean.at_100));
    out.push_back(beside(std::string("at_130_vs_") + peer, learned.mean.at_130, peer, other.mean.at_130));
    refused += other.mean.refused_but_fits;
  }
  Figure fits = plain("gpu.refused_but_fits", static_cast<double>(refused), "");
  fits.target = "0", fits.met = refused == 0;
  out.push_back(std::move(fits));
  out.push_back(plain("gpu.learn", learned.learn_seconds, "s"));
  return out;
}

}  // namespace tutti::app::bench
