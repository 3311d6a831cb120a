// Bodies of API requests, the first byte choosing which.
#include "fuzz.h"
#include "manager/api/requests.h"
#include "model/codec.h"
#include "model/job.h"
#include "model/node.h"
#include "model/session.h"

using namespace tutti;

namespace {

template <class T>
void read(std::string_view text) {
  auto value = from_json<T>(text);
  if (!value) {
    if (value.error().message.empty()) fuzz::broken("refused without a word");
    return;
  }
  const std::string written = to_json(*value);
  auto again = from_json<T>(written);
  if (!again) fuzz::broken("cannot read what it wrote: " + again.error().to_string() + "\n" + written);
  if (to_json(*again) != written) fuzz::broken("reads something else than it wrote:\n" + written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::text(data + 1, size - 1);
  switch (data[0] % 11) {
    case 0: read<JobSpec>(text); break;
    case 1: read<NodeSpec>(text); break;
    case 2: read<manager::ScaleRequest>(text); break;
    case 3: read<manager::DrainRequest>(text); break;
    case 4: read<manager::JoinTokenRequest>(text); break;
    case 5: read<manager::TokenRequest>(text); break;
    case 6: read<manager::SignalRequest>(text); break;
    case 7: read<manager::PullRequest>(text); break;
    case 8: read<StreamQuery>(text); break;
    case 9: read<JoinRequest>(text); break;
    case 10: (void)json_to_yaml(text); break;
  }
  return 0;
}
