#pragma once
// Connections between a worker and the manager, as TCP gives them: in order, nothing lost inside a live one, but a
// whole one may break (each side learns it when it does), be held back in one direction, or stay half open.
//
// Owner: SimWorld. A side that is gone (crashed) hears nothing; the other learns it after a while.

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "sim_time.h"

namespace tutti::sim {

enum Side : int { kWorkerSide = 0, kManagerSide = 1 };

// Of one worker's cable: until when nothing passes, by the side it comes from.
struct Link {
  BootTime blocked_until[2];
};

struct Ear {
  std::function<void(const std::string&)> message;
  std::function<void()> closed;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Simulation& sim, Link& link, uint64_t number) : sim_(sim), link_(link), number_(number) {}
  void listen(Side side, Ear ear) { ear_[side] = std::move(ear); }
  void send(Side from, std::string text);
  // Orderly: this side is done now; the other hears it behind what was sent.
  void close(Side from);
  // The process on this side is gone: it hears no more. The other side hears it at once (reset) or late (power cut).
  void vanish(Side side, Duration heard_after);
  // The path between them fails; both learn it, each in its time.
  void cut();
  bool open(Side side) const { return open_[side]; }
  uint64_t number() const { return number_; }
  size_t under_way(Side from) const { return under_way_[from].size(); }

 private:
  struct Piece {
    BootTime ready;
    std::string text;
    bool end = false;
  };
  void put(Side from, Piece piece);
  void pump(Side from);
  void end(Side side);

  Simulation& sim_;
  Link& link_;
  const uint64_t number_;
  Ear ear_[2];
  bool open_[2] = {true, true};
  bool broken_ = false;             // nothing passes any more
  std::deque<Piece> under_way_[2];  // by the side they come from
  bool pumping_[2] = {false, false};
};

}  // namespace tutti::sim
