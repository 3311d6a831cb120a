#pragma once
// Session: what one command works with: its arguments, the pool it talks to, how it prints.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/context.h"
#include "model/document.h"
#include "net/http.h"

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
  std::string raw() const;                       // JSON again

 private:
  std::shared_ptr<const Document> document_;
  uint32_t index_ = UINT32_MAX;
};

struct Session {
  std::vector<std::string> words;              // positional, without noun and verb
  std::map<std::string, std::string> options;  // "--tail" → "tail"
  std::vector<std::pair<std::string, std::string>> repeated;  // -e, -p
  std::vector<std::string> command;            // behind "--"
  std::string output = "table";
  Context context;

  bool flag(const std::string& name) const { return options.contains(name) && options.at(name) != "false"; }
  std::string option(const std::string& name, const std::string& fallback = "") const {
    auto at = options.find(name);
    return at == options.end() ? fallback : at->second;
  }
  Status connect();  // reads the context
  Result<Json> call(const std::string& method, const std::string& path, const std::string& body = "",
                    const std::string& type = "application/json");
  net::Request request(const std::string& method, const std::string& path) const;
  Result<std::unique_ptr<net::Client>> client() const;
  // Prints the operation's progress until it has ended; its result decides.
  int wait_operation(const Json& answer);
};

// What the commands share. need: 0, or 2 after it said the usage.
int need(const Session& s, size_t count, const char* usage);
int unknown_verb(const std::string& noun, const std::string& verb, const std::vector<std::string_view>& verbs);
std::string path_of(const std::string& base, const std::string& name);
// A verb that starts an operation: say what was asked for, wait, done.
int act(Session& s, const std::string& method, const std::string& path, const std::string& body = "");

bool is_number(const std::string& text);
std::string read_input(const std::string& file, bool& ok);  // "-": standard input

Error problem_of(const net::Response& response);
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
int instance(Session& s, const std::string& verb);
int node(Session& s, const std::string& verb);
int image(Session& s, const std::string& verb);
int event(Session& s, const std::string& verb);
int operation(Session& s, const std::string& verb);
int context(Session& s, const std::string& verb);
int login_command(Session& s);
int run(Session& s);
int logs(Session& s, const std::string& instance, bool follow, int64_t tail);
int interactive(Session& s, const std::string& path, bool tty, bool input);
int copy(Session& s);

}  // namespace tutti::cli
