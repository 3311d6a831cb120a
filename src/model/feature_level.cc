#include <algorithm>

#include "model/codec_impl.h"
#include "model/validate.h"

namespace tutti {
namespace {

struct FieldLevel {
  std::string_view type;
  std::string_view member;
  uint32_t level;
};

// Fields that came after the first release, one line each. What is not named here is of level 1. An enum's new word
// needs no line: a worker refuses words that it does not know.
constexpr std::array<FieldLevel, 1> kLevels{{{"TaskSpec", "health", 2}}};
static_assert(std::ranges::all_of(kLevels, [](const FieldLevel& field) { return field.level <= kFeatureLevel; }));

template <class T>
uint32_t level_of(const T& value, const T& defaults) {
  uint32_t level = 1;
  if constexpr (codec::IsVector<T>::value) {
    for (const auto& element : value) {
      level = std::max(level, level_of(element, codec::default_of<typename T::value_type>()));
    }
  } else if constexpr (codec::DescribedStruct<T>) {
    boost::mp11::mp_for_each<codec::MembersOf<T>>([&](auto d) {
      const auto& member = value.*d.pointer;
      if (codec::same(member, defaults.*d.pointer)) return;
      level = std::max(level, field_feature_level(codec::type_name<T>(), codec::trim_word(d.name)));
      level = std::max(level, level_of(member, defaults.*d.pointer));
    });
  }
  return level;
}

}  // namespace

uint32_t field_feature_level(std::string_view type, std::string_view member) {
  for (const FieldLevel& field : kLevels) {
    if (field.type == type && field.member == member) return field.level;
  }
  return 1;
}

uint32_t required_feature_level(const JobSpec& spec) {
  return level_of(spec, codec::default_of<JobSpec>());
}

}  // namespace tutti
