#include "model/constraint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <regex>

#include "base/text.h"
#include "model/values.h"

namespace tutti {
namespace {

constexpr size_t kPatternLengthMax = 128;
constexpr size_t kSubjectLengthMax = 1'024;

struct OpWord {
  std::string_view word;
  ConstraintOp op;
  bool letters;
};
// Longer words first.
constexpr std::array<OpWord, 14> kOps{{{"==", ConstraintOp::equal, false},
                                       {"!=", ConstraintOp::not_equal, false},
                                       {"<=", ConstraintOp::less_equal, false},
                                       {">=", ConstraintOp::greater_equal, false},
                                       {"=~", ConstraintOp::regexp, false},
                                       {"<", ConstraintOp::less, false},
                                       {">", ConstraintOp::greater, false},
                                       {"=", ConstraintOp::equal, false},
                                       {"in", ConstraintOp::in, true},
                                       {"regexp", ConstraintOp::regexp, true},
                                       {"version", ConstraintOp::version, true},
                                       {"contains", ConstraintOp::contains, true},
                                       {"set", ConstraintOp::set, true},
                                       {"unset", ConstraintOp::unset, true}}};

constexpr std::array<std::string_view, 13> kKeys{
    "node.name",   "node.id",      "node.arch",    "node.os",   "node.kernel",     "node.cpu_model", "node.cores",
    "node.memory", "node.version", "node.cgroups", "node.pool", "node.datacenter", "node.tags"};
constexpr std::array<std::string_view, 4> kPrefixes{"node.label.", "node.tag.", "node.driver.", "node.attr."};

std::string_view op_word(ConstraintOp op) {
  for (const OpWord& known : kOps) {
    if (known.op == op) return known.word;
  }
  return "?";
}

bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-' || c == '/';
}

// Plain numbers and sizes ("16Gi"), so that both sides may be written either way.
std::optional<double> number_of(std::string_view text) {
  double value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && end == text.data() + text.size() && value - value == 0) return value;
  if (auto bytes = parse_bytes(text)) return static_cast<double>(bytes->value);
  return std::nullopt;
}

std::string unquoted(std::string_view text) {
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front()) {
    text = text.substr(1, text.size() - 2);
  }
  return std::string(text);
}

// A list between optional brackets, each word optionally quoted.
std::vector<std::string> words_of(std::string_view text) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
  std::vector<std::string> words;
  for (const std::string& part : split(text, ',')) words.push_back(unquoted(trim(part)));
  return words;
}

struct VersionTerm {
  std::string_view op;
  std::string_view version;
};
VersionTerm version_term(std::string_view term) {
  size_t start = term.find_first_not_of("<>=!");
  if (start == std::string_view::npos) return {term, {}};
  return {start == 0 ? "==" : term.substr(0, start), trim(term.substr(start))};
}

bool is_version(std::string_view text) {
  if (text.starts_with('v')) text.remove_prefix(1);
  return !text.empty() && text[0] >= '0' && text[0] <= '9' && text.find_first_of(" \t,<>=!") == std::string_view::npos;
}

bool version_holds(std::string_view version, std::string_view term) {
  auto [op, wanted] = version_term(term);
  int order = compare_versions(version, wanted);
  if (op == "==" || op == "=") return order == 0;
  if (op == "!=") return order != 0;
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  if (op == ">") return order > 0;
  return order >= 0;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Numbers by value (of any length), words by letters, numbers before words.
int compare_parts(std::string_view a, std::string_view b) {
  if (is_number(a) && is_number(b)) {
    a.remove_prefix(std::min(a.find_first_not_of('0'), a.size()));
    b.remove_prefix(std::min(b.find_first_not_of('0'), b.size()));
    if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  } else if (is_number(a) != is_number(b)) {
    return is_number(a) ? -1 : 1;
  }
  int order = a.compare(b);
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

int compare_dotted(std::string_view a, std::string_view b) {
  std::vector<std::string> left = split(a, '.');
  std::vector<std::string> right = split(b, '.');
  for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    int order = compare_parts(i < left.size() ? left[i] : "0", i < right.size() ? right[i] : "0");
    if (order != 0) return order;
  }
  return 0;
}

}  // namespace

struct Constraint::Pattern {
  std::regex regex;
};

Result<Constraint> Constraint::parse(std::string_view text) {
  text = trim(text);
  auto refuse = [&](const std::string& why) {
    return fail(ErrorCode::invalid, "not a constraint: \"" + std::string(text.substr(0, 100)) + "\": " + why);
  };
  Constraint out;
  size_t key_end = 0;
  while (key_end < text.size() && is_key_char(text[key_end])) ++key_end;
  out.key_ = text.substr(0, key_end);
  if (auto known = check_attribute_key(out.key_); !known) return refuse(known.error().message);
  std::string_view rest = trim(text.substr(key_end));
  const OpWord* found = nullptr;
  for (const OpWord& op : kOps) {
    if (!rest.starts_with(op.word)) continue;
    if (op.letters && rest.size() > op.word.size() && rest[op.word.size()] != ' ' && rest[op.word.size()] != '[')
      continue;
    found = &op;
    break;
  }
  if (found == nullptr) {
    return refuse("after the attribute stands one of == != < > <= >= in =~ version contains set unset");
  }
  out.op_ = found->op;
  std::string_view operand = trim(rest.substr(found->word.size()));
  if (out.op_ == ConstraintOp::set || out.op_ == ConstraintOp::unset) {
    if (!operand.empty()) return refuse("nothing stands after " + std::string(found->word));
    return out;
  }
  if (operand.empty()) return refuse("there is nothing after " + std::string(found->word));
  out.operand_ = unquoted(operand);
  switch (out.op_) {
    case ConstraintOp::less:
    case ConstraintOp::greater:
    case ConstraintOp::less_equal:
    case ConstraintOp::greater_equal: {
      auto number = number_of(out.operand_);
      if (!number)
        return refuse("expected a number or a size, not \"" + out.operand_ + "\" (for versions write: version >= 1.2)");
      out.number_ = *number;
      break;
    }
    case ConstraintOp::in: {
      out.operand_ = operand;
      out.list_ = words_of(operand);
      if (std::ranges::find(out.list_, "") != out.list_.end())
        return refuse("a word of the list is empty: write a, b, c");
      break;
    }
    case ConstraintOp::version: {
      for (const std::string& part : split(out.operand_, ',')) {
        std::string term(trim(part));
        auto [op, version] = version_term(term);
        static constexpr std::array<std::string_view, 7> kTerms{"==", "=", "!=", "<", "<=", ">", ">="};
        if (std::ranges::find(kTerms, op) == kTerms.end() || !is_version(version)) {
          return refuse("not a range of versions: \"" + term + "\": write >= 1.2, < 2");
        }
        out.list_.push_back(std::move(term));
      }
      break;
    }
    case ConstraintOp::regexp: {
      if (out.operand_.size() > kPatternLengthMax)
        return refuse("the expression is longer than " + std::to_string(kPatternLengthMax));
      // The polynomial executor: the other one takes exponential time on expressions like (a*)*b.
      try {
        out.pattern_ = std::make_shared<Pattern>(
            Pattern{std::regex(out.operand_, std::regex::ECMAScript | std::regex_constants::__polynomial)});
      } catch (const std::regex_error& e) {
        return refuse(std::string("not a regular expression: ") + e.what());
      }
      break;
    }
    case ConstraintOp::equal:
    case ConstraintOp::not_equal:
    case ConstraintOp::contains:
    case ConstraintOp::set:
    case ConstraintOp::unset: break;
  }
  return out;
}

bool Constraint::matches(const AttributeLookup& lookup) const {
  std::optional<std::string> value = lookup(key_);
  if (!value) return op_ == ConstraintOp::unset || op_ == ConstraintOp::not_equal;
  auto number = [&](auto holds) {
    auto have = number_of(*value);
    return have && holds(*have, number_);
  };
  switch (op_) {
    case ConstraintOp::equal: return *value == operand_;
    case ConstraintOp::not_equal: return *value != operand_;
    case ConstraintOp::less: return number(std::less<>());
    case ConstraintOp::greater: return number(std::greater<>());
    case ConstraintOp::less_equal: return number(std::less_equal<>());
    case ConstraintOp::greater_equal: return number(std::greater_equal<>());
    case ConstraintOp::in: return std::ranges::find(list_, *value) != list_.end();
    case ConstraintOp::version:
      return is_version(*value) &&
             std::ranges::all_of(list_, [&](const std::string& term) { return version_holds(*value, term); });
    case ConstraintOp::contains: {
      std::vector<std::string> words = words_of(*value);
      return std::ranges::find(words, operand_) != words.end();
    }
    case ConstraintOp::regexp: {
      if (value->size() > kSubjectLengthMax) return false;
      try {
        return std::regex_search(*value, pattern_->regex);
      } catch (const std::regex_error&) {  // too complex for this subject
        return false;
      }
    }
    case ConstraintOp::set: return true;
    case ConstraintOp::unset: return false;
  }
  return false;
}

std::string Constraint::to_string() const {
  std::string out = key_ + " " + std::string(op_word(op_));
  if (op_ == ConstraintOp::in || op_ == ConstraintOp::version) return out + " " + join(list_, ", ");
  return operand_.empty() ? out : out + " " + operand_;
}

Status check_attribute_key(std::string_view key) {
  if (std::ranges::find(kKeys, key) != kKeys.end()) return {};
  for (std::string_view prefix : kPrefixes) {
    if (key.starts_with(prefix) && key.size() > prefix.size()) return {};
  }
  std::vector<std::string_view> all(kKeys.begin(), kKeys.end());
  // A wrong prefix is compared without the name behind it.
  std::string_view head = key;
  if (size_t dot = key.find('.'); dot != std::string_view::npos) {
    if (size_t second = key.find('.', dot + 1); second != std::string_view::npos) head = key.substr(0, second + 1);
  }
  all.insert(all.end(), kPrefixes.begin(), kPrefixes.end());
  std::string hint =
      "known are node.name, .arch, .os, .kernel, .cores, .memory, .pool, .datacenter, .tags, .label.X, .tag.X, "
      ".driver.X, .attr.X";
  if (std::string_view near = nearest_word(head, all); !near.empty()) hint = "did you mean " + std::string(near) + "?";
  return fail(ErrorCode::invalid, "no such attribute \"" + std::string(key.substr(0, 60)) + "\": " + hint);
}

std::optional<std::string> node_attribute(const Node& node, std::string_view key) {
  auto of_map = [](const std::map<std::string, std::string>& map, std::string_view name) -> std::optional<std::string> {
    auto row = map.find(std::string(name));
    if (row == map.end()) return std::nullopt;
    return row->second;
  };
  auto known = [](const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); };
  if (!key.starts_with("node.")) return std::nullopt;
  key.remove_prefix(5);
  if (key == "name") return known(node.name);
  if (key == "id") return to_text(node.id);
  if (key == "pool") return known(node.spec.node_pool);
  if (key == "datacenter") return known(node.spec.datacenter);
  if (key == "tags") return join(node.spec.tags, ",");
  if (key.starts_with("label.")) return of_map(node.spec.labels, key.substr(6));
  if (key.starts_with("tag.")) {
    bool tagged = std::ranges::find(node.spec.tags, key.substr(4)) != node.spec.tags.end();
    return tagged ? std::optional<std::string>("true") : std::nullopt;
  }
  if (node.inventory == nullptr) return std::nullopt;
  const Inventory& inventory = *node.inventory;
  if (key == "arch") return known(inventory.arch);
  if (key == "os") return known(inventory.os);
  if (key == "kernel") return known(inventory.kernel);
  if (key == "cpu_model") return known(inventory.cpu_model);
  if (key == "version") return known(inventory.version);
  if (key == "cgroups") return known(inventory.cgroups);
  if (key == "cores") return std::to_string(inventory.cores);
  if (key == "memory") return std::to_string(inventory.memory.value);
  if (key.starts_with("attr.")) return of_map(inventory.attributes, key.substr(5));
  if (key.starts_with("driver.")) {
    auto driver = std::ranges::find(inventory.drivers, key.substr(7), &DriverInfo::name);
    if (driver == inventory.drivers.end() || !driver->healthy) return std::nullopt;
    return driver->version.empty() ? "true" : driver->version;
  }
  return std::nullopt;
}

int compare_versions(std::string_view a, std::string_view b) {
  auto cut = [](std::string_view text) {
    if (text.starts_with('v')) text.remove_prefix(1);
    text = text.substr(0, text.find('+'));  // build metadata does not order
    size_t dash = text.find('-');
    std::string_view pre = dash == std::string_view::npos ? std::string_view() : text.substr(dash + 1);
    return std::pair(text.substr(0, dash), pre);
  };
  auto [left, left_pre] = cut(a);
  auto [right, right_pre] = cut(b);
  if (int order = compare_dotted(left, right); order != 0) return order;
  if (left_pre.empty() || right_pre.empty())
    return left_pre.empty() == right_pre.empty() ? 0 : left_pre.empty() ? 1 : -1;
  return compare_dotted(left_pre, right_pre);
}

}  // namespace tutti
