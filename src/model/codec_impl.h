#pragma once
// The codec's templates: reflection over Boost.Describe, one table of member functions per struct. Included by
// exactly those .cc files that instantiate the codec for their types:
//
//   #include "model/codec_impl.h"
//   TUTTI_INSTANTIATE_CODEC(tutti::manager::JobSummary);
//   TUTTI_INSTANTIATE_CODEC(std::vector<tutti::manager::JobSummary>);
//
// Supported: bool, integers, double, std::string, described enums and structs, ids, Revision, Time, Duration,
// Millicores, Bytes, std::vector, std::map<std::string, T>, std::optional, std::shared_ptr<const T>; RawJson.
// A member's trailing '_' is not part of its word (override_ is "override").

#include <array>
#include <boost/describe.hpp>
#include <boost/mp11.hpp>
#include <concepts>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "model/codec.h"
#include "model/decoder.h"
#include "model/schema.h"

namespace tutti::codec {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsMap : std::false_type {};
template <class T>
struct IsMap<std::map<std::string, T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsShared : std::false_type {};
template <class T>
struct IsShared<std::shared_ptr<const T>> : std::true_type {};
template <class T>
struct IsId : std::false_type {};
template <class Tag>
struct IsId<Id<Tag>> : std::true_type {};

template <class T>
concept DescribedEnum = std::is_enum_v<T> && boost::describe::has_describe_enumerators<T>::value;
template <class T>
concept DescribedStruct = boost::describe::has_describe_members<T>::value && std::is_class_v<T>;
template <class T>
concept Leaf =
    std::same_as<T, bool> || std::same_as<T, double> || std::same_as<T, std::string> || std::same_as<T, Millicores> ||
    std::same_as<T, Bytes> || std::same_as<T, Duration> || std::same_as<T, Time>;

template <class T>
using MembersOf =
    boost::describe::describe_members<T, boost::describe::mod_any_access | boost::describe::mod_inherited>;

// A struct that a file may write as one text: the value of the member that kShorthand names.
template <class T>
concept HasShorthand = DescribedStruct<T> && requires { T::kShorthand; };

template <class T>
const T& default_of() {
  static const T value{};
  return value;
}

constexpr std::string_view trim_word(std::string_view name) {
  return name.ends_with('_') ? name.substr(0, name.size() - 1) : name;
}

template <DescribedEnum E>
std::span<const EnumWord> words_of() {
  static const std::vector<EnumWord> words = [] {
    std::vector<EnumWord> all;
    boost::mp11::mp_for_each<boost::describe::describe_enumerators<E>>([&](auto d) {
      EnumWord word{std::string(trim_word(d.name)), static_cast<int64_t>(d.value)};
      for (char& c : word.word) c = c == '_' ? '-' : c;
      all.push_back(std::move(word));
    });
    return all;
  }();
  return words;
}

// Equal as far as the encoding can tell.
template <class T>
bool same(const T& a, const T& b);
template <class T>
void decode_value(Decoder& decoder, uint32_t at, T& out);
template <class T>
void encode_value(Encoder& encoder, const T& value, const T& defaults);

template <class T, class D>
struct MemberOf {
  static auto& of(void* object) { return static_cast<T*>(object)->*D::pointer; }
  static const auto& of(const void* object) { return static_cast<const T*>(object)->*D::pointer; }
  using Type = std::remove_cvref_t<decltype(of(std::declval<const void*>()))>;

  static void decode(Decoder& decoder, uint32_t at, void* object) { decode_value(decoder, at, of(object)); }
  static void encode(Encoder& encoder, const void* object, const void* defaults) {
    encode_value(encoder, of(object), of(defaults));
  }
  static bool left_out(const void* object, const void* defaults, bool omit_defaults) {
    if constexpr (IsOptional<Type>::value || IsShared<Type>::value) {
      if (!of(object)) return !of(defaults);
    }
    return omit_defaults && same(of(object), of(defaults));
  }
};

template <DescribedStruct T>
std::span<const Member> members_of() {
  static constexpr size_t kCount = boost::mp11::mp_size<MembersOf<T>>::value;
  static_assert(kCount <= 64, "Decoder::read_struct keeps what it has seen in 64 bits");
  static constexpr auto kMembers = []<class... D>(boost::mp11::mp_list<D...>) {
    return std::array<Member, kCount>{
        Member{trim_word(D::name), &MemberOf<T, D>::decode, &MemberOf<T, D>::encode, &MemberOf<T, D>::left_out}...};
  }(boost::mp11::mp_rename<MembersOf<T>, boost::mp11::mp_list>{});
  return kMembers;
}

template <class T>
bool same(const T& a, const T& b) {
  if constexpr (std::equality_comparable<T> && !IsShared<T>::value && !IsVector<T>::value && !IsMap<T>::value &&
                !IsOptional<T>::value) {
    return a == b;
  } else if constexpr (IsVector<T>::value) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i) {
      if (!same(a[i], b[i])) return false;
    }
    return true;
  } else if constexpr (IsMap<T>::value) {
    if (a.size() != b.size()) return false;
    for (auto i = a.begin(), j = b.begin(); i != a.end(); ++i, ++j) {
      if (i->first != j->first || !same(i->second, j->second)) return false;
    }
    return true;
  } else if constexpr (IsOptional<T>::value || IsShared<T>::value) {
    if (!a || !b) return !a && !b;
    return same(*a, *b);
  } else {
    bool equal = true;
    boost::mp11::mp_for_each<MembersOf<T>>([&](auto d) { equal = equal && same(a.*d.pointer, b.*d.pointer); });
    return equal;
  }
}

template <class T>
void decode_value(Decoder& decoder, uint32_t at, T& out) {
  if constexpr (Leaf<T>) {
    decoder.read(at, out);
  } else if constexpr (IsId<T>::value) {
    out.value = decoder.read_id(at);
  } else if constexpr (std::same_as<T, Revision>) {
    out.value = decoder.read_unsigned(at, std::numeric_limits<uint64_t>::max(), out.value);
  } else if constexpr (std::same_as<T, RawJson>) {
    out.text.clear();
    decoder.read_raw(at, out.text);
  } else if constexpr (DescribedEnum<T>) {
    out = static_cast<T>(decoder.read_enum(at, words_of<T>(), static_cast<int64_t>(out)));
  } else if constexpr (std::signed_integral<T>) {
    out = static_cast<T>(decoder.read_integer(at, std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), out));
  } else if constexpr (std::unsigned_integral<T>) {
    out = static_cast<T>(decoder.read_unsigned(at, std::numeric_limits<T>::max(), out));
  } else if constexpr (IsVector<T>::value) {
    if (!decoder.expect(at, DocKind::list, "a list")) return;
    out.clear();
    out.reserve(decoder.node(at).count);
    decoder.each(at, [&](uint32_t child) {
      typename T::value_type element{};
      decode_value(decoder, child, element);
      out.push_back(std::move(element));
    });
  } else if constexpr (IsMap<T>::value) {
    if (!decoder.expect(at, DocKind::map, "an object")) return;
    out.clear();
    decoder.each(at, [&](uint32_t child) {
      auto [row, fresh] = out.try_emplace(std::string(decoder.node(child).key));
      if (!fresh) return decoder.duplicate(child);
      decode_value(decoder, child, row->second);
    });
  } else if constexpr (IsOptional<T>::value) {
    out.reset();
    if (decoder.node(at).kind != DocKind::null) decode_value(decoder, at, out.emplace());
  } else if constexpr (IsShared<T>::value) {
    out.reset();
    if (decoder.node(at).kind == DocKind::null) return;
    auto fresh = std::make_shared<std::remove_const_t<typename T::element_type>>();
    decode_value(decoder, at, *fresh);
    out = std::move(fresh);
  } else {
    static_assert(DescribedStruct<T>, "a type that the codec does not know: describe it");
    if constexpr (HasShorthand<T>) {
      if (decoder.node(at).kind == DocKind::string || decoder.node(at).kind == DocKind::plain) {
        for (const Member& member : members_of<T>())
          if (member.name == T::kShorthand) member.decode(decoder, at, &out);
        return;
      }
    }
    decoder.read_struct(at, &out, members_of<T>());
  }
}

template <class T>
void encode_value(Encoder& encoder, const T& value, const T& defaults) {
  if constexpr (std::same_as<T, bool> || std::same_as<T, double>) {
    encoder.write(value);
  } else if constexpr (std::same_as<T, std::string>) {
    encoder.write_string(value);
  } else if constexpr (std::same_as<T, Millicores> || std::same_as<T, Bytes>) {
    encoder.write_integer(value.value);
  } else if constexpr (std::same_as<T, Revision>) {
    encoder.write_unsigned(value.value);
  } else if constexpr (std::same_as<T, Duration>) {
    encoder.write_string(format_duration(value));
  } else if constexpr (std::same_as<T, Time>) {
    encoder.write_string(format_time(value));
  } else if constexpr (std::same_as<T, RawJson>) {
    encoder.write_raw(value.text);
  } else if constexpr (IsId<T>::value) {
    encoder.write_string(to_text(value));
  } else if constexpr (DescribedEnum<T>) {
    encoder.write_enum(words_of<T>(), static_cast<int64_t>(value));
  } else if constexpr (std::signed_integral<T>) {
    encoder.write_integer(value);
  } else if constexpr (std::unsigned_integral<T>) {
    encoder.write_unsigned(value);
  } else if constexpr (IsVector<T>::value) {
    encoder.open('[');
    for (const auto& element : value) {
      encoder.next();
      encode_value<typename T::value_type>(encoder, element, default_of<typename T::value_type>());
    }
    encoder.close(']');
  } else if constexpr (IsMap<T>::value) {
    encoder.open('{');
    for (const auto& [key, element] : value) {
      encoder.key(key);
      encode_value(encoder, element, default_of<typename T::mapped_type>());
    }
    encoder.close('}');
  } else if constexpr (IsOptional<T>::value) {
    if (!value) return encoder.write_null();
    encode_value(encoder, *value, default_of<typename T::value_type>());
  } else if constexpr (IsShared<T>::value) {
    if (!value) return encoder.write_null();
    encode_value(encoder, *value, default_of<std::remove_const_t<typename T::element_type>>());
  } else {
    static_assert(DescribedStruct<T>, "a type that the codec does not know: describe it");
    encoder.write_struct(&value, &defaults, members_of<T>());
  }
}

template <class T>
Result<T> decode_document(Result<Document> document, DecodeOptions options) {
  if (!document) {
    if (options.what.empty()) return tl::make_unexpected(std::move(document).error());
    return tl::make_unexpected(std::move(document).error().in(options.what));
  }
  Decoder decoder(*document, options);
  T value{};
  decode_value(decoder, 0, value);
  if (decoder.broken()) return tl::make_unexpected(decoder.error());
  return value;
}

// The unqualified name of a type as the compiler spells it: "JobSpec".
template <class T>
std::string type_name() {
  std::string_view text = __PRETTY_FUNCTION__;  // "… [T = tutti::JobSpec]"
  text.remove_prefix(text.rfind("T = ") + 4);
  text.remove_suffix(1);
  return std::string(text.substr(text.rfind(':') == std::string_view::npos ? 0 : text.rfind(':') + 1));
}

template <class T>
std::string schema_of(SchemaSet& set) {
  if constexpr (std::same_as<T, bool>)
    return R"({"type":"boolean"})";
  else if constexpr (std::same_as<T, double>)
    return R"({"type":"number"})";
  else if constexpr (std::same_as<T, std::string>)
    return R"({"type":"string"})";
  else if constexpr (std::same_as<T, Millicores>)
    return std::string(kMillicoresSchema);
  else if constexpr (std::same_as<T, Bytes>)
    return std::string(kBytesSchema);
  else if constexpr (std::same_as<T, Duration>)
    return std::string(kDurationSchema);
  else if constexpr (std::same_as<T, Time>)
    return std::string(kTimeSchema);
  else if constexpr (std::same_as<T, Revision>)
    return R"({"type":"integer","minimum":0})";
  else if constexpr (std::same_as<T, RawJson>)
    return "{}";
  else if constexpr (IsId<T>::value)
    return std::string(kIdSchema);
  else if constexpr (std::integral<T>) {
    return integer_schema(std::is_signed_v<T>, sizeof(T));
  } else if constexpr (IsVector<T>::value) {
    return R"({"type":"array","items":)" + schema_of<typename T::value_type>(set) + "}";
  } else if constexpr (IsMap<T>::value) {
    return R"({"type":"object","additionalProperties":)" + schema_of<typename T::mapped_type>(set) + "}";
  } else if constexpr (IsOptional<T>::value) {
    return schema_of<typename T::value_type>(set);
  } else if constexpr (IsShared<T>::value) {
    return schema_of<std::remove_const_t<typename T::element_type>>(set);
  } else if constexpr (DescribedEnum<T>) {
    if (set.enter(type_name<T>())) set.put(type_name<T>(), enum_schema(words_of<T>()));
    return SchemaSet::reference(type_name<T>());
  } else {
    static_assert(DescribedStruct<T>);
    if (set.enter(type_name<T>())) {
      StructSchema fields;
      boost::mp11::mp_for_each<MembersOf<T>>([&](auto d) {
        using M = std::remove_cvref_t<decltype(std::declval<T>().*d.pointer)>;
        std::string shown_default;
        if constexpr (!IsOptional<M>::value && !IsShared<M>::value && !DescribedStruct<M>) {
          Encoder encoder(shown_default, {});
          encode_value(encoder, default_of<T>().*d.pointer, default_of<M>());
        }
        fields.add(trim_word(d.name), schema_of<M>(set), shown_default);
      });
      set.put(type_name<T>(), fields.json());
    }
    if constexpr (HasShorthand<T>) {
      return R"({"oneOf":[{"type":"string","description":"the )" + std::string(T::kShorthand) + R"("},)" +
             SchemaSet::reference(type_name<T>()) + "]}";
    }
    return SchemaSet::reference(type_name<T>());
  }
}

}  // namespace tutti::codec

namespace tutti {

template <class T>
Result<T> from_json(std::string_view text, DecodeOptions options) {
  return codec::decode_document<T>(parse_json_document(text), options);
}

template <class T>
Result<T> from_yaml(std::string_view text, DecodeOptions options) {
  return codec::decode_document<T>(parse_yaml_document(text), options);
}

template <class T>
void append_json(std::string& out, const T& value, EncodeOptions options) {
  codec::Encoder encoder(out, options);
  codec::encode_value(encoder, value, codec::default_of<T>());
}

template <class T>
std::string to_json(const T& value, EncodeOptions options) {
  std::string out;
  out.reserve(400);  // most rows and messages; growing there step by step showed in profiles
  append_json(out, value, options);
  return out;
}

template <class T>
std::vector<NamedSchema> schemas_of() {
  codec::SchemaSet set;
  (void)codec::schema_of<T>(set);
  return std::move(set).take();
}

}  // namespace tutti

// At global namespace, with the type's whole name. Types with a comma in their name need an alias.
#define TUTTI_INSTANTIATE_CODEC(...)                                                                         \
  template tutti::Result<__VA_ARGS__> tutti::from_json<__VA_ARGS__>(std::string_view, tutti::DecodeOptions); \
  template tutti::Result<__VA_ARGS__> tutti::from_yaml<__VA_ARGS__>(std::string_view, tutti::DecodeOptions); \
  template std::string tutti::to_json<__VA_ARGS__>(const __VA_ARGS__&, tutti::EncodeOptions);                \
  template void tutti::append_json<__VA_ARGS__>(std::string&, const __VA_ARGS__&, tutti::EncodeOptions);     \
  template std::vector<tutti::NamedSchema> tutti::schemas_of<__VA_ARGS__>()
