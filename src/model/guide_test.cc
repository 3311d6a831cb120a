// The user guide names every key of a job file, and none that there is not.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "model/codec.h"
#include "model/codec_impl.h"
#include "model/job.h"
#include "model/validate.h"

namespace tutti {
namespace {

template <class T>
void keys_of(const std::string& path, std::set<std::string>& out) {
  if constexpr (codec::IsVector<T>::value) {
    keys_of<typename T::value_type>(path, out);
  } else if constexpr (codec::IsOptional<T>::value) {
    keys_of<typename T::value_type>(path, out);
  } else if constexpr (codec::DescribedStruct<T>) {
    boost::mp11::mp_for_each<codec::MembersOf<T>>([&](auto d) {
      using Member = std::remove_cvref_t<decltype(std::declval<T>().*d.pointer)>;
      const std::string key = (path.empty() ? "" : path + ".") + std::string(codec::trim_word(d.name));
      keys_of<Member>(key, out);
    });
  } else {
    out.insert(path);
  }
}

std::string guide() {
  std::ifstream in(TUTTI_SOURCE_DIR "/docs/user-guide.md");
  return {std::istreambuf_iterator<char>(in), {}};
}

// The first cells of the table below the heading, without their backquotes.
std::set<std::string> keys_of_guide() {
  const std::string text = guide();
  std::set<std::string> out;
  size_t at = text.find("### Every key\n");
  const size_t end = text.find("\n## ", at);
  while (at != std::string::npos && at < end) {
    at = text.find("\n| `", at);
    if (at == std::string::npos || at >= end) break;
    at += 4;
    out.insert(text.substr(at, text.find('`', at) - at));
  }
  return out;
}

TEST(UserGuide, NamesEveryKeyOfAJobFileAndNoOther) {
  std::set<std::string> keys;
  keys_of<JobSpec>("", keys);
  ASSERT_TRUE(keys.contains("tasks.ports.host"));
  const std::set<std::string> told = keys_of_guide();
  for (const std::string& key : keys)
    EXPECT_TRUE(told.contains(key)) << "docs/user-guide.md, 'Every key', lacks " << key;
  for (const std::string& key : told)
    EXPECT_TRUE(keys.contains(key)) << "docs/user-guide.md, 'Every key', has " << key << ", which is no key";
}

TEST(UserGuide, ItsExampleIsRight) {
  const std::string text = guide();
  const size_t begin = text.find("```yaml\n") + 8;
  auto spec = parse_job_file(text.substr(begin, text.find("```", begin) - begin), "the guide's example");
  ASSERT_TRUE(spec) << spec.error().to_string();
  apply_defaults(*spec);
  const Status valid = validate(*spec);
  EXPECT_TRUE(valid) << valid.error().to_string();
}

}  // namespace
}  // namespace tutti
