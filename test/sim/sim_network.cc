#include "sim_network.h"

#include <algorithm>

namespace tutti::sim {

void Connection::send(Side from, std::string text) {
  if (open_[from]) put(from, {{}, std::move(text), false});
}

void Connection::close(Side from) {
  if (!open_[from]) return;
  put(from, {{}, {}, true});
  sim_.after({}, [self = shared_from_this(), from] { self->end(from); });
}

void Connection::vanish(Side side, Duration heard_after) {
  if (!open_[side]) return;
  open_[side] = false;
  ear_[side] = {};
  sim_.count("messages lost", under_way_[1 - side].size());
  under_way_[1 - side].clear();
  if (sim_.faults && sim_.chance(10)) return sim_.count("connections half open for good");
  sim_.after(heard_after, [self = shared_from_this(), other = static_cast<Side>(1 - side)] { self->end(other); });
}

void Connection::cut() {
  broken_ = true;
  for (const auto& pieces : under_way_) sim_.count("messages lost", pieces.size());
  for (Side side : {kWorkerSide, kManagerSide}) {
    if (sim_.faults && sim_.chance(10)) {
      sim_.count("connections half open for good");
      continue;
    }
    sim_.after(sim_.between(0, sim_.chance(3) ? 20'000 : 200), [self = shared_from_this(), side] { self->end(side); });
  }
}

void Connection::put(Side from, Piece piece) {
  const bool late = sim_.faults && sim_.chance(50);
  if (late) sim_.count("messages late");
  BootTime ready = sim_.boot() + (late ? sim_.between(0, 2'000) : sim_.between(0, 3));
  if (!under_way_[from].empty()) ready = std::max(ready, under_way_[from].back().ready);
  piece.ready = ready;
  under_way_[from].push_back(std::move(piece));
  pump(from);
}

void Connection::pump(Side from) {
  if (pumping_[from] || under_way_[from].empty() || broken_) return;
  pumping_[from] = true;
  const BootTime at = std::max({under_way_[from].front().ready, link_.blocked_until[from], sim_.boot()});
  sim_.after(at - sim_.boot(), [self = shared_from_this(), from] {
    self->pumping_[from] = false;
    if (self->broken_ || self->under_way_[from].empty()) return;
    if (self->link_.blocked_until[from] > self->sim_.boot() || self->under_way_[from].front().ready > self->sim_.boot())
      return self->pump(from);
    Piece piece = std::move(self->under_way_[from].front());
    self->under_way_[from].pop_front();
    self->pump(from);
    const Side to = static_cast<Side>(1 - from);
    if (piece.end) return self->end(to);
    if (self->open_[to] && self->ear_[to].message) {
      auto heard = self->ear_[to].message;  // it may close, and replace itself
      heard(piece.text);
    }
  });
}

void Connection::end(Side side) {
  if (!open_[side]) return;
  open_[side] = false;
  Ear ear = std::exchange(ear_[side], {});
  if (ear.closed) ear.closed();
}

}  // namespace tutti::sim
