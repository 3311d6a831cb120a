// Job files in YAML, JSON and HCL: what is taken says the same again after it was written and read.
#include "fuzz.h"
#include "model/codec.h"
#include "model/job.h"
#include "model/validate.h"

using namespace tutti;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto spec = parse_job_file(fuzz::text(data, size), "fuzz.yaml");
  if (!spec) {
    if (spec.error().message.empty()) fuzz::broken("refused without a word");
    return 0;
  }
  const std::string written = to_json(*spec);
  auto again = from_json<JobSpec>(written);
  if (!again) fuzz::broken("cannot read what it wrote: " + again.error().to_string() + "\n" + written);
  if (to_json(*again) != written)
    fuzz::broken("reads something else than it wrote:\n" + written + "\n" + to_json(*again));
  (void)json_to_yaml(written);
  return 0;
}
