#pragma once
// Table<V>: rows by a 64-bit number, as a persistent radix tree.
//
// A copy of a table is O(1) and never changes: it is what snapshots are made of. The writer edits its own copy under a
// TableEdit: nodes made by that edit are changed in place, others are copied on the way down, so a dense batch costs
// little and everything untouched is shared. Fan-out 32; every branch counts its rows. Nodes are counted by intrusive
// atomic counts, so tables may be read, copied and dropped on any thread; one table object is edited by one thread.
//
// A TableEdit is for one batch. It must not be used again once a copy of what it edited was handed out: take a new one.
// (Nodes that a copy shares are counted twice and so are never changed in place, whatever the edit; the rule keeps it
// so that a row made before the last publication is never changed under a pointer into it.)

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tutti {

class TableEdit {
 public:
  TableEdit() : number_(next()) {}
  // For who has a number of its own that never comes again (of a batch, say); below 2^63.
  explicit TableEdit(uint64_t number) : number_(number) {}
  uint64_t number() const { return number_; }

 private:
  // Unique in the process and apart from the numbers callers choose. Says nothing about order, so determinism is not
  // touched by it.
  static uint64_t next() {
    static std::atomic<uint64_t> counter{uint64_t{1} << 63};
    return counter.fetch_add(1, std::memory_order_relaxed);
  }
  uint64_t number_;
};

template <class V>
class Table {
 public:
  Table() = default;
  Table(const Table& o) : root_(o.root_), levels_(o.levels_) { retain(root_); }
  Table(Table&& o) noexcept : root_(std::exchange(o.root_, nullptr)), levels_(std::exchange(o.levels_, 0)) {}
  Table& operator=(Table o) noexcept {
    std::swap(root_, o.root_);
    std::swap(levels_, o.levels_);
    return *this;
  }
  ~Table() { release(root_, levels_); }

  size_t size() const { return root_ == nullptr ? 0 : count_of(root_, levels_); }
  bool empty() const { return root_ == nullptr; }

  // Valid while this table, or a copy of it, lives unedited.
  const V* find(uint64_t key) const {
    const Node* node = root_;
    if (node == nullptr || !reaches(key, levels_)) return nullptr;
    for (int level = levels_; level > 0; --level) {
      node = static_cast<const Branch*>(node)->child(digit(key, level));
      if (node == nullptr) return nullptr;
    }
    return static_cast<const Leaf*>(node)->find(digit(key, 0));
  }
  bool contains(uint64_t key) const { return find(key) != nullptr; }

  // Inserts or replaces.
  void put(const TableEdit& edit, uint64_t key, V value) {
    grow(edit, key);
    put_below(edit.number(), root_, levels_, key, std::move(value));
  }

  // A row to be changed in place by this edit; null where there is none.
  V* edit(const TableEdit& edit, uint64_t key) {
    if (!contains(key)) return nullptr;
    Node** at = &root_;
    for (int level = levels_; level > 0; --level) {
      own(edit.number(), *at, level);
      at = static_cast<Branch*>(*at)->slot(digit(key, level));
    }
    own(edit.number(), *at, 0);
    return static_cast<Leaf*>(*at)->find(digit(key, 0));
  }

  bool erase(const TableEdit& edit, uint64_t key) {
    if (!contains(key)) return false;
    erase_below(edit.number(), root_, levels_, key);
    return true;
  }

  // In ascending order of keys; f(key, value) returns nothing, or false to stop. False if it was stopped.
  template <class F>
  bool for_each(F&& f) const {
    return for_each_from(0, f);
  }
  template <class F>
  bool for_each_from(uint64_t first_key, F&& f) const {
    return root_ == nullptr || visit(root_, levels_, 0, first_key, UINT64_MAX, f);
  }
  // Keys in [first_key, end_key).
  template <class F>
  bool for_each_in(uint64_t first_key, uint64_t end_key, F&& f) const {
    return root_ == nullptr || end_key == 0 || visit(root_, levels_, 0, first_key, end_key - 1, f);
  }

  // The key of the row that has `rank` smaller ones; rank < size(). A page of a list: for_each_from(key_at(offset), f).
  uint64_t key_at(size_t rank) const {
    TUTTI_INVARIANT(rank < size(), "rank above the size of the table");
    uint64_t key = 0;
    const Node* node = root_;
    for (int level = levels_; level > 0; --level) {
      const auto* branch = static_cast<const Branch*>(node);
      uint32_t left = branch->present;
      size_t index = 0;
      for (size_t rows = 0; (rows = count_of(branch->children[index], level - 1)) <= rank; ++index, left &= left - 1)
        rank -= rows;
      key |= static_cast<uint64_t>(std::countr_zero(left)) << (level * kBits);
      node = branch->children[index];
    }
    uint32_t left = node->present;
    for (; rank > 0; --rank) left &= left - 1;
    return key | static_cast<uint64_t>(std::countr_zero(left));
  }

  // The smallest and the largest key; 0 when empty.
  uint64_t first_key() const { return end_key_of(false); }
  uint64_t last_key() const { return end_key_of(true); }

 private:
  static constexpr int kBits = 5;
  static constexpr unsigned kFanOut = 1u << kBits;

  struct Node {
    explicit Node(uint64_t e) : edit(e) {}
    std::atomic<uint32_t> references{1};
    uint32_t present = 0;  // which of the 32 places are taken; the values or children stand packed
    uint64_t edit;
    bool has(unsigned place) const { return (present >> place & 1) != 0; }
    size_t rank(unsigned place) const {
      return static_cast<size_t>(std::popcount(present & ((uint32_t{1} << place) - 1)));
    }
  };
  // The values of a leaf of a set: there is nothing to keep but which are present.
  struct NoValues {
    [[no_unique_address]] V value;
    V* begin() { return &value; }
    V& operator[](size_t) { return value; }
    const V& operator[](size_t) const { return value; }
    void insert(V*, V&&) {}
    void erase(V*) {}
  };
  struct Leaf : Node {
    using Node::Node;
    std::conditional_t<std::is_empty_v<V>, NoValues, std::vector<V>> values;
    const V* find(unsigned place) const { return this->has(place) ? &values[this->rank(place)] : nullptr; }
    V* find(unsigned place) { return this->has(place) ? &values[this->rank(place)] : nullptr; }
  };
  struct Branch : Node {
    using Node::Node;
    uint64_t rows = 0;
    std::vector<Node*> children;
    const Node* child(unsigned place) const { return this->has(place) ? children[this->rank(place)] : nullptr; }
    Node** slot(unsigned place) { return &children[this->rank(place)]; }
  };

  static unsigned digit(uint64_t key, int level) {
    return static_cast<unsigned>(key >> (level * kBits)) & (kFanOut - 1);
  }
  static bool reaches(uint64_t key, int levels) {
    const int bits = (levels + 1) * kBits;
    return bits >= 64 || (key >> bits) == 0;
  }
  static uint64_t count_of(const Node* node, int level) {
    return level == 0 ? static_cast<uint64_t>(std::popcount(node->present)) : static_cast<const Branch*>(node)->rows;
  }

  static void retain(Node* node) {
    if (node != nullptr) node->references.fetch_add(1, std::memory_order_relaxed);
  }
  static void release(Node* node, int level) {
    if (node == nullptr || node->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (level == 0) {
      delete static_cast<Leaf*>(node);
      return;
    }
    auto* branch = static_cast<Branch*>(node);
    for (Node* child : branch->children) release(child, level - 1);
    delete branch;
  }

  // Makes `node` one that this edit may change in place.
  static void own(uint64_t edit, Node*& node, int level) {
    if (node->edit == edit && node->references.load(std::memory_order_acquire) == 1) return;
    Node* copy = nullptr;
    if (level == 0) {
      auto* leaf = new Leaf(edit);
      leaf->values = static_cast<Leaf*>(node)->values;
      copy = leaf;
    } else {
      auto* branch = new Branch(edit);
      branch->rows = static_cast<Branch*>(node)->rows;
      branch->children = static_cast<Branch*>(node)->children;
      for (Node* child : branch->children) retain(child);
      copy = branch;
    }
    copy->present = node->present;
    release(node, level);
    node = copy;
  }

  void grow(const TableEdit& edit, uint64_t key) {
    if (root_ == nullptr) {
      while (!reaches(key, levels_)) ++levels_;
      root_ = make(edit.number(), levels_);
      return;
    }
    while (!reaches(key, levels_)) {
      auto* branch = new Branch(edit.number());
      branch->present = 1;
      branch->rows = count_of(root_, levels_);
      branch->children.push_back(root_);
      root_ = branch;
      ++levels_;
    }
  }
  static Node* make(uint64_t edit, int level) {
    if (level == 0) return new Leaf(edit);
    return new Branch(edit);
  }

  // True if a row was added, not replaced.
  static bool put_below(uint64_t edit, Node*& node, int level, uint64_t key, V&& value) {
    own(edit, node, level);
    const unsigned place = digit(key, level);
    const auto rank = static_cast<ptrdiff_t>(node->rank(place));
    const ptrdiff_t offset = std::is_empty_v<V> ? 0 : rank;
    if (level == 0) {
      auto* leaf = static_cast<Leaf*>(node);
      if (leaf->has(place)) {
        leaf->values[static_cast<size_t>(rank)] = std::move(value);
        return false;
      }
      leaf->values.insert(leaf->values.begin() + offset, std::move(value));
      leaf->present |= uint32_t{1} << place;
      return true;
    }
    auto* branch = static_cast<Branch*>(node);
    if (!branch->has(place)) {
      branch->children.insert(branch->children.begin() + rank, make(edit, level - 1));
      branch->present |= uint32_t{1} << place;
    }
    const bool added = put_below(edit, branch->children[static_cast<size_t>(rank)], level - 1, key, std::move(value));
    if (added) ++branch->rows;
    return added;
  }

  // The key is there. An empty node is taken away, so that an empty table is a null root.
  static void erase_below(uint64_t edit, Node*& node, int level, uint64_t key) {
    own(edit, node, level);
    const unsigned place = digit(key, level);
    const auto rank = static_cast<ptrdiff_t>(node->rank(place));
    const ptrdiff_t offset = std::is_empty_v<V> ? 0 : rank;
    if (level == 0) {
      auto* leaf = static_cast<Leaf*>(node);
      leaf->values.erase(leaf->values.begin() + offset);
      leaf->present &= ~(uint32_t{1} << place);
    } else {
      auto* branch = static_cast<Branch*>(node);
      --branch->rows;
      erase_below(edit, branch->children[static_cast<size_t>(rank)], level - 1, key);
      if (branch->children[static_cast<size_t>(rank)] == nullptr) {
        branch->children.erase(branch->children.begin() + rank);
        branch->present &= ~(uint32_t{1} << place);
      }
    }
    if (node->present == 0) {
      release(node, level);
      node = nullptr;
    }
  }

  template <class F>
  static bool visit(const Node* node, int level, uint64_t base, uint64_t first, uint64_t last, F& f) {
    size_t index = 0;
    for (uint32_t left = node->present; left != 0; left &= left - 1, ++index) {
      const auto place = static_cast<uint64_t>(std::countr_zero(left));
      const uint64_t low = base | place << (level * kBits);
      if (low > last) return true;
      if (level == 0) {
        if (low < first) continue;
        const V& value = static_cast<const Leaf*>(node)->values[index];
        if constexpr (std::is_same_v<decltype(f(low, value)), bool>) {
          if (!f(low, value)) return false;
        } else {
          f(low, value);
        }
        continue;
      }
      const uint64_t high = low + ((uint64_t{1} << (level * kBits)) - 1);
      if (high < first) continue;
      if (!visit(static_cast<const Branch*>(node)->children[index], level - 1, low, first, last, f)) return false;
    }
    return true;
  }

  uint64_t end_key_of(bool last) const {
    if (root_ == nullptr) return 0;
    uint64_t key = 0;
    const Node* node = root_;
    for (int level = levels_; level >= 0; --level) {
      const int place = last ? 31 - std::countl_zero(node->present) : std::countr_zero(node->present);
      key |= static_cast<uint64_t>(place) << (level * kBits);
      if (level > 0)
        node = last ? static_cast<const Branch*>(node)->children.back()
                    : static_cast<const Branch*>(node)->children.front();
    }
    return key;
  }

  Node* root_ = nullptr;
  int levels_ = 0;  // of branches above the leaves
};

struct Unit {
  bool operator==(const Unit&) const = default;
};
using IdSet = Table<Unit>;

}  // namespace tutti
