#include "store/sqlite/sqlite_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <span>

#include "base/limits.h"

namespace tutti::store {
namespace {

struct CloseDb {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct Finalize {
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using Db = std::unique_ptr<sqlite3, CloseDb>;
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

constexpr int kBusyMs = 10'000;
// What a checkpoint, or a trim, writes at a time: an append waits a millisecond or two for it.
constexpr size_t kBytesAtOnce = 256u << 10;
constexpr int kLogRowsAtOnce = 100;
// Pages in the write-ahead log before the writer copies them into the file itself: a checkpoint does it in the
// background.
constexpr int kWriterCopiesAt = 50'000;
// What a checkpoint writes between two copies into the file: the disk is never given a long queue that appends wait
// behind.
constexpr size_t kBytesACopy = 4u << 20;
// Copies of what came in during the one before; and how many frames of it are few.
constexpr int kCopiesMost = 8;
constexpr int kFramesHeldUp = 500;
// What the write-ahead log keeps of its length, to be written over.
constexpr int kLogLengthKept = 64 << 20;

// Appends go first: between two pieces of a checkpoint whoever appends gets the write lock, without SQLite's own
// waiting, which sleeps for up to a tenth of a second.
class WriteGate {
 public:
  using Held = std::unique_lock<std::mutex>;
  Held for_append() {
    ++waiting_;
    Held held(mutex_);
    if (--waiting_ == 0) none_waits_.notify_one();
    return held;
  }
  Held for_piece() {
    Held held(mutex_);
    none_waits_.wait(held, [this] { return waiting_ == 0; });
    return held;
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_waits_;
  std::atomic<int> waiting_{0};
};

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(std::string path) : path_(std::move(path)) {}
  ~SqliteStore() override { release(); }

  Result<Opened> open() override {
    close_connections();
    TUTTI_CHECK(take_lead());
    TUTTI_TRY(writer_, connect(kWriterCopiesAt));
    TUTTI_CHECK(
        run(writer_.get(),
            "CREATE TABLE IF NOT EXISTS log(revision INTEGER PRIMARY KEY, blob BLOB NOT NULL);"
            "CREATE TABLE IF NOT EXISTS page(tbl INTEGER NOT NULL, number INTEGER NOT NULL, blob BLOB NOT NULL);"
            "CREATE UNIQUE INDEX IF NOT EXISTS page_key ON page(tbl, number);"
            "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL);"
            "INSERT OR IGNORE INTO meta VALUES('format', 1), ('epoch', 0), ('checkpoint', 0);"));
    TUTTI_TRY(const uint64_t format, number(writer_.get(), "SELECT value FROM meta WHERE name='format'"));
    if (format != 1) {
      return fail(ErrorCode::unsupported,
                  path_ + " was written by a newer tutti (format " + std::to_string(format) + "): use that version");
    }
    TUTTI_TRY(side_, connect(0));
    // What the side commits is durable with the next append, or when it asks for it: the log is written in order.
    TUTTI_CHECK(run(side_.get(), "PRAGMA synchronous=NORMAL"));
    TUTTI_TRY(reader_, connect(0));
    Opened opened;
    TUTTI_TRY(opened.epoch, number(writer_.get(), "SELECT value FROM meta WHERE name='epoch'"));
    TUTTI_TRY(opened.checkpoint, number(writer_.get(), "SELECT value FROM meta WHERE name='checkpoint'"));
    TUTTI_TRY(opened.log_first, number(writer_.get(), "SELECT COALESCE(MIN(revision), 0) FROM log"));
    TUTTI_TRY(opened.head, number(writer_.get(), "SELECT COALESCE(MAX(revision), 0) FROM log"));
    opened.head = std::max(opened.head, opened.checkpoint);
    head_ = opened.head;
    TUTTI_TRY(insert_, prepare(writer_.get(), "INSERT INTO log(revision, blob) VALUES(?1, ?2)"));
    return opened;
  }

  AppendResult append(uint64_t revision, std::string_view blob) override {
    if (!insert_) return {AppendOutcome::refused, {ErrorCode::unavailable, "the store is not open", {}, 0}};
    if (revision != head_ + 1) {
      return {AppendOutcome::refused,
              {ErrorCode::conflict,
               "revision " + std::to_string(revision) + " does not follow " + std::to_string(head_),
               {},
               0}};
    }
    if (blob.size() > limits::kAppendBlobBytesMax) {
      return {AppendOutcome::refused,
              {ErrorCode::too_large,
               "a batch of " + std::to_string(blob.size()) + " bytes (limit kAppendBlobBytesMax)",
               {},
               0}};
    }
    const WriteGate::Held held = gate_.for_append();
    sqlite3_reset(insert_.get());
    sqlite3_bind_int64(insert_.get(), 1, static_cast<sqlite3_int64>(revision));
    sqlite3_bind_blob64(insert_.get(), 2, blob.data(), blob.size(), SQLITE_STATIC);
    const int code = sqlite3_step(insert_.get());
    Error error{ErrorCode::io, path_ + ": " + sqlite3_errmsg(writer_.get()), {}, 0};
    sqlite3_reset(insert_.get());
    if (code == SQLITE_DONE) {
      head_ = revision;
      return {};
    }
    // What failed before the commit was written was rolled back; after an I/O error nobody can say.
    const bool certain =
        code == SQLITE_FULL || code == SQLITE_BUSY || code == SQLITE_CONSTRAINT || code == SQLITE_READONLY;
    if (code == SQLITE_FULL) error.message += ": make room on the disk, nothing was stored";
    return {certain ? AppendOutcome::refused : AppendOutcome::unknown, std::move(error)};
  }

  Status read_log(uint64_t after, const std::function<bool(uint64_t, std::string_view)>& each) override {
    std::lock_guard lock(reader_mutex_);  // not the side's: a checkpoint may take seconds
    TUTTI_TRY(const uint64_t first, number(reader_.get(), "SELECT COALESCE(MIN(revision), 0) FROM log"));
    TUTTI_TRY(const uint64_t checkpoint, number(reader_.get(), "SELECT value FROM meta WHERE name='checkpoint'"));
    if ((first == 0 && after < checkpoint) || (first > 0 && first > after + 1)) {
      return fail(ErrorCode::not_found, "the log begins after revision " + std::to_string(after));
    }
    TUTTI_TRY(Statement rows,
              prepare(reader_.get(), "SELECT revision, blob FROM log WHERE revision > ?1 ORDER BY revision"));
    sqlite3_bind_int64(rows.get(), 1, static_cast<sqlite3_int64>(after));
    int code = 0;
    while ((code = sqlite3_step(rows.get())) == SQLITE_ROW) {
      const auto* bytes = static_cast<const char*>(sqlite3_column_blob(rows.get(), 1));
      const auto size = static_cast<size_t>(sqlite3_column_bytes(rows.get(), 1));
      if (!each(static_cast<uint64_t>(sqlite3_column_int64(rows.get(), 0)), {bytes, size})) return {};
    }
    return code == SQLITE_DONE ? Status{} : refuse(reader_.get(), "read the log");
  }

  Status checkpoint(uint64_t revision, const std::vector<Page>& pages) override {
    std::lock_guard lock(side_mutex_);
    TUTTI_TRY(const uint64_t present, number(side_.get(), "SELECT value FROM meta WHERE name='checkpoint'"));
    if (revision < present) return fail(ErrorCode::conflict, "a checkpoint out of order");
    size_t uncopied = 0;
    for (size_t from = 0; from < pages.size();) {
      size_t to = from;
      size_t bytes = 0;
      for (; to < pages.size() && bytes < kBytesAtOnce; ++to) bytes += pages[to].blob.size() + 64;
      TUTTI_CHECK(in_one_piece([&] { return write_pages({pages.data() + from, to - from}); }));
      from = to;
      if ((uncopied += bytes) < kBytesACopy) continue;
      copy_into_file();
      uncopied = 0;
    }
    TUTTI_CHECK(in_one_piece([&] { return set_meta("checkpoint", revision); }, true));
    copy_all_into_file();
    return {};
  }

  Status read_pages(const std::function<Status(const Page&)>& each) override {
    std::lock_guard lock(side_mutex_);
    TUTTI_TRY(Statement rows, prepare(side_.get(), "SELECT tbl, number, blob FROM page ORDER BY tbl, number"));
    int code = 0;
    while ((code = sqlite3_step(rows.get())) == SQLITE_ROW) {
      Page page;
      page.table = static_cast<uint32_t>(sqlite3_column_int64(rows.get(), 0));
      page.number = static_cast<uint64_t>(sqlite3_column_int64(rows.get(), 1));
      page.blob.assign(static_cast<const char*>(sqlite3_column_blob(rows.get(), 2)),
                       static_cast<size_t>(sqlite3_column_bytes(rows.get(), 2)));
      TUTTI_CHECK(each(page));
    }
    return code == SQLITE_DONE ? Status{} : refuse(side_.get(), "read the pages");
  }

  Status trim_log(uint64_t revision) override {
    std::lock_guard lock(side_mutex_);
    TUTTI_TRY(const uint64_t checkpoint, number(side_.get(), "SELECT value FROM meta WHERE name='checkpoint'"));
    const std::string remove = "DELETE FROM log WHERE revision <= " + std::to_string(std::min(revision, checkpoint)) +
                               " AND revision < (SELECT MIN(revision) FROM log) + " + std::to_string(kLogRowsAtOnce);
    do TUTTI_CHECK(in_one_piece([&] { return run(side_.get(), remove.c_str()); }));
    while (sqlite3_changes(side_.get()) > 0);
    return {};
  }

  Status set_epoch(uint64_t epoch) override {
    std::lock_guard lock(side_mutex_);
    return in_one_piece([&] { return set_meta("epoch", epoch); }, true);
  }

 private:
  Status take_lead() {
    if (lock_fd_ >= 0) return {};
    const std::string path = path_ + ".lock";
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return fail_errno("open " + path, errno);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      char pid[32] = {};
      if (::pread(fd, pid, sizeof pid - 1, 0) < 0) pid[0] = 0;
      ::close(fd);
      return fail(ErrorCode::unavailable,
                  path_ + " is in use by another manager (pid " + pid + "): stop it, or choose another data directory");
    }
    const std::string text = std::to_string(::getpid());
    if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, text.data(), text.size(), 0) < 0) { /* only for messages */
    }
    lock_fd_ = fd;
    return {};
  }

  void close_connections() {
    insert_.reset();
    writer_.reset();
    side_.reset();
    reader_.reset();
  }
  void release() {
    close_connections();
    if (lock_fd_ >= 0) ::close(lock_fd_);
    lock_fd_ = -1;
  }

  Result<Db> connect(int copies_at) const {
    sqlite3* raw = nullptr;
    const int code =
        sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    Db db(raw);
    if (code != SQLITE_OK) return tl::make_unexpected(refuse(db.get(), "open").error());
    sqlite3_busy_timeout(db.get(), kBusyMs);
    TUTTI_CHECK(run(db.get(), "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8000;"));
    TUTTI_CHECK(run(db.get(), ("PRAGMA journal_size_limit=" + std::to_string(kLogLengthKept)).c_str()));
    sqlite3_wal_autocheckpoint(db.get(), copies_at);
    return db;
  }

  // `durable`: with everything the side did before.
  template <class F>
  Status in_one_piece(F&& work, bool durable = false) {
    const WriteGate::Held held = gate_.for_piece();
    if (durable) TUTTI_CHECK(run(side_.get(), "PRAGMA synchronous=FULL"));
    Status done = run(side_.get(), "BEGIN IMMEDIATE");
    if (done) {
      done = work();
      if (done) done = run(side_.get(), "COMMIT");
      if (!done) (void)run(side_.get(), "ROLLBACK");
    }
    if (durable) TUTTI_CHECK(run(side_.get(), "PRAGMA synchronous=NORMAL"));
    return done;
  }

  // How many frames of the write-ahead log are in the file now; what it cannot copy for now stays in the log.
  int copy_into_file() {
    int copied = 0;
    sqlite3_wal_checkpoint_v2(side_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, &copied);
    return copied;
  }
  // The next append begins the write-ahead log anew, over what is there: where a file becomes longer the disk writes
  // twice, and an append may take eight times as long. Appends are held up for the little that came in meanwhile.
  void copy_all_into_file() {
    int before = copy_into_file();
    for (int i = 0; i < kCopiesMost; ++i) {
      const int copied = copy_into_file();
      const bool few = copied - before < kFramesHeldUp;
      before = copied;
      if (!few) continue;
      // A copy that appends overtook leaves the file to the system's caches: SQLite waits for the disk in the last one
      // only.
      sqlite3_file* file = nullptr;
      sqlite3_file_control(side_.get(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
      if (file != nullptr && file->pMethods != nullptr) file->pMethods->xSync(file, SQLITE_SYNC_DATAONLY);
      const WriteGate::Held held = gate_.for_piece();
      copy_into_file();
      return;
    }
  }
  Status set_meta(const std::string& name, uint64_t value) {
    return run(side_.get(), ("UPDATE meta SET value=" + std::to_string(value) + " WHERE name='" + name + "'").c_str());
  }

  Status write_pages(std::span<const Page> pages) {
    TUTTI_TRY(Statement put, prepare(side_.get(),
                                     "INSERT INTO page(tbl, number, blob) VALUES(?1, ?2, ?3) ON CONFLICT(tbl, number) "
                                     "DO UPDATE SET blob=excluded.blob"));
    TUTTI_TRY(Statement drop, prepare(side_.get(), "DELETE FROM page WHERE tbl=?1 AND number=?2"));
    for (const Page& page : pages) {
      sqlite3_stmt* statement = page.blob.empty() ? drop.get() : put.get();
      sqlite3_reset(statement);
      sqlite3_bind_int64(statement, 1, page.table);
      sqlite3_bind_int64(statement, 2, static_cast<sqlite3_int64>(page.number));
      if (!page.blob.empty()) sqlite3_bind_blob64(statement, 3, page.blob.data(), page.blob.size(), SQLITE_STATIC);
      if (sqlite3_step(statement) != SQLITE_DONE) return refuse(side_.get(), "write a page");
    }
    return {};
  }

  Status refuse(sqlite3* db, std::string_view what) const {
    const int code = db != nullptr ? sqlite3_errcode(db) : SQLITE_NOMEM;
    std::string message =
        path_ + ": cannot " + std::string(what) + ": " + (db != nullptr ? sqlite3_errmsg(db) : "out of memory");
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
      message += "; the file is damaged: move it away and restore a backup";
    return fail(ErrorCode::io, std::move(message));
  }
  Status run(sqlite3* db, const char* sql) const {
    return sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK ? Status{} : refuse(db, "use the store");
  }
  Result<Statement> prepare(sqlite3* db, const char* sql) const {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(db, sql, -1, &raw, nullptr) != SQLITE_OK)
      return tl::make_unexpected(refuse(db, "use the store").error());
    return Statement(raw);
  }
  Result<uint64_t> number(sqlite3* db, const char* sql) const {
    TUTTI_TRY(Statement statement, prepare(db, sql));
    if (sqlite3_step(statement.get()) != SQLITE_ROW) return tl::make_unexpected(refuse(db, "read the store").error());
    return static_cast<uint64_t>(sqlite3_column_int64(statement.get(), 0));
  }

  const std::string path_;
  int lock_fd_ = -1;
  Db writer_;  // append() only
  Statement insert_;
  WriteGate gate_;
  std::mutex side_mutex_;
  Db side_;  // everything else
  std::mutex reader_mutex_;
  Db reader_;  // read_log()
  uint64_t head_ = 0;
};

}  // namespace

std::unique_ptr<Store> make_sqlite_store(std::string path) {
  return std::make_unique<SqliteStore>(std::move(path));
}

}  // namespace tutti::store
