#include "model/session.h"

#include "base/hash.h"
#include "model/codec.h"

namespace tutti {

uint64_t hash_of(const Assignment& assignment) {
  return fnv1a(to_json(assignment, {.omit_defaults = true}));
}

}  // namespace tutti
