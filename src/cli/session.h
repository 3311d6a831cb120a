#pragma once
// Session: what one command works with: its arguments, the pool it talks to, how it prints.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/context.h"
#include "cli/usage.h"
#include "model/document.h"
#include "net/http.h"

namespace tutti {
struct StreamQuery;
}

namespace tutti::cli {

// A parsed answer, and where one is in it. Copies are cheap; missing members are empty values.
class Json {
 public:
  static Result<Json> parse(const std::string& text);
  Json operator[](std::string_view path) const;  // "status.state"
  std::string text() const;                      // strings as they are, numbers in digits
  int64_t number() const;
  bool exists() const { return index_ != UINT32_MAX; }
  std::vector<Json> items() const;
  std::string key() const;  // of a member of a map
  std::string raw() const;  // JSON again

 private:
  std::shared_ptr<const Document> document_;
  uint32_t index_ = UINT32_MAX;
};

struct Session {
  Invocation invocation;
  std::vector<std::string> words;  // positional, without noun and verb
  std::string output = "table";
  Context context;
  std::shared_ptr<net::Client> http;  // of call(): one connection for all of a command's calls

  bool flag(const std::string& name) const { return option(name) == "true"; }
  std::string option(const std::string& name, const std::string& fallback = "") const {
    auto at = invocation.options.find(name);
    return at == invocation.options.end() ? fallback : at->second;
  }
  Status connect();  // reads the context
  // The same with a connection of its own, for calls beside this one's.
  Session for_another_thread() const {
    Session out = *this;
    out.http.reset();
    return out;
  }
  Result<Json> call(const std::string& method, const std::string& path, const std::string& body = "",
                    const std::string& type = "application/json", const std::string& if_match = "");
  net::Request request(const std::string& method, const std::string& path) const;
  Result<std::unique_ptr<net::Client>> client() const;
  // Prints the operation's progress until it has ended; its result decides.
  int wait_operation(const Json& answer);
};

// What the commands share. How many words there are was checked when they were parsed.
std::string path_of(const std::string& base, const std::string& name);
// A verb that starts an operation: say what was asked for, wait, done.
int act(Session& s, const std::string& method, const std::string& path, const std::string& body = "");

bool is_number(const std::string& text);
Result<std::string> read_input(const std::string& file);  // "-": standard input

Error problem_of(const net::Response& response);
// The pool's error about a file of ours: the file's name stands in front, and each detail begins with FILE:LINE:COLUMN.
Error placed_in_file(Error error, const std::string& file);
int complain(const Error& error);
int exit_code_of(ErrorCode code);
std::string json_text(std::string_view text);

// Tables: a header and one path per column.
struct Column {
  std::string title;
  std::string path;
};
int print_list(const Session& session, const Json& answer, const std::vector<Column>& columns, const std::string& raw);
int print_object(const Session& session, const Json& object);
std::string cell(const Json& row, const std::string& path);
void print_table(const std::vector<std::vector<std::string>>& rows);

// Commands.
int list_command(Session& s, const std::string& path, const std::vector<Column>& columns);
int ps(Session& s);
int explain(Session& s);
int job(Session& s, const std::string& verb);
int job_plan(Session& s);
int job_diff(Session& s, const std::string& path);
int job_dispatch(Session& s);
int job_periodic(Session& s);
int instance(Session& s, const std::string& verb);
int node(Session& s, const std::string& verb);
int image(Session& s, const std::string& verb);
int pool(Session& s, const std::string& verb);
int project(Session& s, const std::string& verb);
int event(Session& s, const std::string& verb);
int operation(Session& s, const std::string& verb);
int context(Session& s, const std::string& verb);
int login_command(Session& s);
int run(Session& s);
int rebalance(Session& s);
int logs(Session& s, const std::string& instance, bool follow, int64_t tail);
// A terminal on both sides needs one on ours.
Status check_terminal(bool tty, bool input);
// Before any thread starts, since each of them would take the news that the terminal has another size.
void keep_size_changes();
int interactive(Session& s, const std::string& path, const StreamQuery& query, bool input);
int copy(Session& s);

}  // namespace tutti::cli
