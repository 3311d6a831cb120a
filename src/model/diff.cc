#include "model/diff.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/log.h"
#include "model/decoder.h"
#include "model/document.h"

namespace tutti {
namespace {

class Differ {
 public:
  Differ(const Document& before, const Document& after) : before_(before), after_(after) {}

  void compare(const std::string& path, uint32_t a, uint32_t b) {
    const DocKind kind = after_[b].kind;
    if (before_[a].kind == kind && kind == DocKind::map) return compare_maps(path, a, b);
    if (before_[a].kind == kind && kind == DocKind::list) return compare_lists(path, a, b);
    const std::string was = json(before_, a);
    const std::string is = json(after_, b);
    if (was != is) out.push_back({path, ChangeKind::changed, {was}, {is}});
  }

  std::vector<FieldChange> out;

 private:
  template <class F>
  static void each(const Document& document, uint32_t at, F&& f) {
    uint32_t child = at + 1;
    for (uint32_t i = 0; i < document[at].count; ++i, child = document[child].next) f(child, i);
  }
  static std::string json(const Document& document, uint32_t at) {
    std::string text;
    codec::append_document_json(text, document, at);
    return text;
  }
  static std::map<std::string_view, uint32_t> members(const Document& document, uint32_t map) {
    std::map<std::string_view, uint32_t> out;
    each(document, map, [&](uint32_t child, uint32_t) { out[document[child].key] = child; });
    return out;
  }
  static std::optional<uint32_t> member(const Document& document, uint32_t map, std::string_view key) {
    std::optional<uint32_t> found;
    each(document, map, [&](uint32_t child, uint32_t) {
      if (document[child].key == key) found = child;
    });
    return found;
  }
  // What an element of a list is known by; its position where it has no name of its own.
  static std::string key_of(const Document& document, uint32_t element, uint32_t index) {
    if (document[element].kind == DocKind::map) {
      for (const char* word : {"name", "target"}) {
        const auto at = member(document, element, word);
        if (at && document[*at].kind == DocKind::string && !document[*at].text.empty())
          return std::string(document[*at].text);
      }
    }
    return std::to_string(index);
  }

  void add(const std::string& path, uint32_t b) {
    out.push_back({path, ChangeKind::added, {"null"}, {json(after_, b)}});
  }
  void remove(const std::string& path, uint32_t a) {
    out.push_back({path, ChangeKind::removed, {json(before_, a)}, {"null"}});
  }

  void compare_maps(const std::string& path, uint32_t a, uint32_t b) {
    const std::string head = path.empty() ? "" : path + ".";
    const auto was = members(before_, a);
    const auto is = members(after_, b);
    each(after_, b, [&](uint32_t child, uint32_t) {
      const std::string key(after_[child].key);
      if (const auto found = was.find(key); found != was.end())
        compare(head + key, found->second, child);
      else
        add(head + key, child);
    });
    each(before_, a, [&](uint32_t child, uint32_t) {
      if (!is.contains(before_[child].key)) remove(head + std::string(before_[child].key), child);
    });
  }

  void compare_lists(const std::string& path, uint32_t a, uint32_t b) {
    std::vector<std::pair<std::string, uint32_t>> was;
    each(before_, a, [&](uint32_t child, uint32_t i) { was.emplace_back(key_of(before_, child, i), child); });
    each(after_, b, [&](uint32_t child, uint32_t i) {
      const std::string key = key_of(after_, child, i);
      const auto found = std::ranges::find(was, key, &std::pair<std::string, uint32_t>::first);
      if (found == was.end()) return add(path + "[" + key + "]", child);
      compare(path + "[" + key + "]", found->second, child);
      was.erase(found);
    });
    for (const auto& [key, child] : was) remove(path + "[" + key + "]", child);
  }

  const Document& before_;
  const Document& after_;
};

}  // namespace

std::vector<FieldChange> diff(const JobSpec& before, const JobSpec& after) {
  const auto a = parse_json_document(to_json(before));
  const auto b = parse_json_document(to_json(after));
  TUTTI_INVARIANT(a && b, "a spec that the codec wrote is no document");
  Differ differ(*a, *b);
  differ.compare("", 0, 0);
  return std::move(differ.out);
}

bool same_work(const JobVersion& before, const GroupView& group_before, const JobVersion& after,
               const GroupView& group_after) {
  if (group_before.tasks != group_after.tasks) return false;
  return std::ranges::all_of(group_after.tasks, [&](size_t index) {
    TaskSpec was = before.spec->tasks[index];
    const TaskSpec& is = after.spec->tasks[index];
    was.count = is.count;
    was.reschedule = is.reschedule;
    const auto digest = [&](const JobVersion& version) {
      const auto at = version.images.find(is.image);
      return at == version.images.end() ? std::string() : at->second;
    };
    return was == is && digest(before) == digest(after);
  });
}

}  // namespace tutti
