#include "model/session.h"

#include "base/hash.h"

namespace tutti {
namespace {

// Of every assignment that goes out: by field, since writing it as text first took as long as sending it.
class FieldHash {
 public:
  FieldHash& add(uint64_t value) {
    hash_ = (hash_ ^ value) * 0xff51afd7ed558ccdULL;
    hash_ ^= hash_ >> 32;
    return *this;
  }
  FieldHash& add(std::string_view text) { return add(text.size()).add(fnv1a(text)); }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = kFnvBasis;
};

}  // namespace

uint64_t hash_of(const Assignment& a) {
  FieldHash hash;
  hash.add(a.instance.value).add(a.job.value).add(a.job_version).add(a.name).add(a.job_name).add(a.project);
  hash.add(a.group).add(a.slot).add(a.generation).add(static_cast<uint64_t>(a.desired));
  for (const PortBinding& port : a.ports)
    hash.add(port.task).add(port.name).add(static_cast<uint64_t>(port.container)).add(port_key(port));
  for (const DeviceBinding& device : a.devices)
    hash.add(device.task).add(device.device).add(device.kind).add(static_cast<uint64_t>(device.share));
  return hash.add(a.ports.size()).add(a.devices.size()).value();
}

}  // namespace tutti
