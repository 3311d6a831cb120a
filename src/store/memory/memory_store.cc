#include "store/memory/memory_store.h"

#include "base/limits.h"

namespace tutti::store {
namespace {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {}

  Result<Opened> open() override {
    for (const auto& [revision, torn] : disk_->torn) disk_->log.erase(revision);
    disk_->torn.clear();
    head_ = disk_->log.empty() ? disk_->checkpoint : disk_->log.rbegin()->first;
    Opened opened;
    opened.epoch = disk_->epoch;
    opened.head = head_;
    opened.checkpoint = disk_->checkpoint;
    opened.log_first = disk_->log.empty() ? 0 : disk_->log.begin()->first;
    return opened;
  }

  AppendResult append(uint64_t revision, std::string_view blob) override {
    if (revision != head_ + 1) {
      return {AppendOutcome::refused,
              {ErrorCode::conflict,
               "revision " + std::to_string(revision) + " does not follow " + std::to_string(head_),
               {},
               0}};
    }
    if (blob.size() > limits::kAppendBlobBytesMax) {
      return {AppendOutcome::refused, {ErrorCode::too_large, "a batch above kAppendBlobBytesMax", {}, 0}};
    }
    AppendFault fault = AppendFault::none;
    if (!disk_->faults.empty()) {
      fault = disk_->faults.front();
      disk_->faults.pop_front();
    }
    ++disk_->appends;
    const Error lost{ErrorCode::unavailable, "the disk gave no answer", {}, 0};
    switch (fault) {
      case AppendFault::none: break;
      case AppendFault::refused: return {AppendOutcome::refused, {ErrorCode::io, "the disk refused", {}, 0}};
      case AppendFault::unknown_not_stored: return {AppendOutcome::unknown, lost};
      case AppendFault::torn:
        disk_->log[revision] = std::string(blob.substr(0, blob.size() / 2));
        disk_->torn[revision] = true;
        return {AppendOutcome::unknown, lost};
      case AppendFault::unknown_stored: disk_->log[revision] = std::string(blob); return {AppendOutcome::unknown, lost};
    }
    write_batch(revision, blob);
    sync();
    head_ = revision;
    return {};
  }

  Status read_log(uint64_t after, const std::function<bool(uint64_t, std::string_view)>& each) override {
    if (after < head_ && (disk_->log.empty() || disk_->log.begin()->first > after + 1)) {
      return fail(ErrorCode::not_found, "the log begins after revision " + std::to_string(after));
    }
    for (auto at = disk_->log.upper_bound(after); at != disk_->log.end(); ++at) {
      if (!each(at->first, at->second)) break;
    }
    return {};
  }

  Status checkpoint(uint64_t revision, const std::vector<Page>& pages) override {
    if (disk_->fail_next_checkpoint) {
      disk_->fail_next_checkpoint = false;
      return fail(ErrorCode::io, "the disk refused a checkpoint");
    }
    if (revision < disk_->checkpoint || revision > head_) return fail(ErrorCode::conflict, "a checkpoint out of order");
    for (const Page& page : pages) {
      const std::pair<uint32_t, uint64_t> key{page.table, page.number};
      write_page(key, page.blob);
    }
    sync();  // the pages before what says that they are there
    disk_->unsynced.emplace_back([before = disk_->checkpoint](MemoryDisk& disk) { disk.checkpoint = before; });
    disk_->checkpoint = revision;
    sync();
    return {};
  }

  Status read_pages(const std::function<Status(const Page&)>& each) override {
    for (const auto& [key, blob] : disk_->pages) TUTTI_CHECK(each(Page{key.first, key.second, blob}));
    return {};
  }

  Status trim_log(uint64_t revision) override {
    disk_->log.erase(disk_->log.begin(), disk_->log.upper_bound(std::min(revision, disk_->checkpoint)));
    return {};
  }

  Status set_epoch(uint64_t epoch) override {
    disk_->epoch = epoch;
    return {};
  }

 private:
  void write_batch(uint64_t revision, std::string_view blob) {
    disk_->unsynced.emplace_back([revision](MemoryDisk& disk) { disk.log.erase(revision); });
    disk_->log[revision] = std::string(blob);
  }
  void write_page(const std::pair<uint32_t, uint64_t>& key, const std::string& blob) {
    auto at = disk_->pages.find(key);
    disk_->unsynced.emplace_back(
        [key, before = at == disk_->pages.end() ? std::string() : at->second](MemoryDisk& disk) {
          if (before.empty())
            disk.pages.erase(key);
          else
            disk.pages[key] = before;
        });
    if (blob.empty())
      disk_->pages.erase(key);
    else
      disk_->pages[key] = blob;
  }
  void sync() { disk_->unsynced.clear(); }

  std::shared_ptr<MemoryDisk> disk_;
  uint64_t head_ = 0;
};

}  // namespace

void MemoryDisk::cut_power() {
  for (auto undo = unsynced.rbegin(); undo != unsynced.rend(); ++undo) (*undo)(*this);
  unsynced.clear();
}

std::unique_ptr<Store> make_memory_store(std::shared_ptr<MemoryDisk> disk) {
  return std::make_unique<MemoryStore>(std::move(disk));
}

}  // namespace tutti::store
