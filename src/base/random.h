#pragma once
// Randomness: one interface, so that simulation can seed it. Pure folders take a seed as an argument.

#include <cstdint>
#include <string>

namespace tutti {

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;
  // Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound);
};

// SplitMix64 (Steele, Lea, Flood 2014): small, fast, deterministic. Not for secrets.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() override;

 private:
  uint64_t state_;
};

// `bytes` from the kernel's generator (getrandom), as lower-case hex. For secrets and nonces. Aborts if the kernel
// refuses.
std::string secure_random_hex(size_t bytes);

}  // namespace tutti
