#pragma once
// Constraints: what a node must be for a task. "node.arch == x86_64", one comparison each, all must hold.
//
//   == !=        text                     "node.label.disk == ssd"
//   < > <= >=    numbers, sizes too       "node.cores >= 8", "node.memory > 16Gi"
//   in           one of a list            "node.name in a, b, c"
//   =~           regular expression       "node.kernel =~ ^6\\."      (ECMAScript, found anywhere; "regexp" is the
//   same) version      a range of versions      "node.driver.container version >= 1.8, < 2" contains     a
//   comma-separated value  "node.tags contains gpu" set, unset   whether there is one     "node.label.gpu set"
//
// An attribute that a node does not have meets only != and unset. Pure; a parsed constraint may be used by any thread.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/node.h"

namespace tutti {

enum class ConstraintOp : uint8_t {
  equal,
  not_equal,
  less,
  greater,
  less_equal,
  greater_equal,
  in,
  regexp,
  version,
  contains,
  set,
  unset
};

using AttributeLookup = std::function<std::optional<std::string>(std::string_view key)>;

class Constraint {
 public:
  static Result<Constraint> parse(std::string_view text);
  bool matches(const AttributeLookup& lookup) const;
  const std::string& key() const { return key_; }
  ConstraintOp op() const { return op_; }
  const std::string& operand() const { return operand_; }
  // "node.arch == x86_64": the same for every way of writing it; what explanations and caches use.
  std::string to_string() const;

 private:
  struct Pattern;  // a compiled regular expression
  std::string key_;
  ConstraintOp op_ = ConstraintOp::equal;
  std::string operand_;
  std::vector<std::string> list_;  // in: the words; version: the terms
  double number_ = 0;              // < > <= >=
  std::shared_ptr<const Pattern> pattern_;
};

// Whether constraints may ask for this key; the error names the nearest right one.
Status check_attribute_key(std::string_view key);

// node.name node.id node.arch node.os node.kernel node.cpu_model node.cores node.memory node.version node.cgroups
// node.pool node.datacenter node.tags node.label.X node.tag.X ("true") node.driver.X (its version, "true" without one;
// only while healthy) node.attr.X
std::optional<std::string> node_attribute(const Node& node, std::string_view key);

// -1, 0, 1: dotted numbers with an optional 'v' in front and an optional -prerelease, which is less than none.
int compare_versions(std::string_view a, std::string_view b);

}  // namespace tutti
