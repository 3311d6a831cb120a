#include "cli/context.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/random.h"
#include "model/codec.h"
#include "model/document.h"
#include "net/http.h"

namespace tutti::cli {
namespace {

// Empty where there is none.
Result<std::string> read_text(const std::string& path) {
  std::string out;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return out;
  if (fd < 0) {
    return fail(ErrorCode::forbidden, "the file of the contexts cannot be read: " + path + ": " +
                                          std::string(std::strerror(errno)) +
                                          ": run this as whose it is, or name another with TUTTI_CONFIG");
  }
  char buffer[8192];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) out.append(buffer, static_cast<size_t>(n));
  ::close(fd);
  return out;
}

void make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    ::mkdir(path.substr(0, at).c_str(), 0700);
}

}  // namespace

std::string contexts_path() {
  if (const char* path = std::getenv("TUTTI_CONFIG")) return path;
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "/root") + "/.config/tutti/contexts.json";
}

Result<Contexts> load_contexts() {
  TUTTI_TRY(const std::string text, read_text(contexts_path()));
  if (text.empty()) return Contexts{};
  return from_json<Contexts>(text, {.allow_unknown = true, .what = contexts_path()});
}

Status save_contexts(const Contexts& contexts) {
  const std::string path = contexts_path();
  make_parents(path);
  const std::string temporary = path + "." + secure_random_hex(4);
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return fail_errno("write " + path, errno);
  const std::string text = to_json(contexts, {.pretty = true}) + "\n";
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  if (!written || ::rename(temporary.c_str(), path.c_str()) != 0) {
    ::unlink(temporary.c_str());
    return fail_errno("write " + path, errno);
  }
  return {};
}

Status save_context(const std::string& name, const std::string& address, const std::string& authority,
                    const std::string& token, bool make_current) {
  TUTTI_TRY(Contexts all, load_contexts());
  std::erase_if(all.contexts, [&](const Context& c) { return c.name == name; });
  all.contexts.push_back({name, address, authority, token, ""});
  if (make_current || all.current.empty()) all.current = name;
  return save_contexts(all);
}

Result<Context> load_context(const std::string& name) {
  TUTTI_TRY(const Contexts all, load_contexts());
  const std::string wanted = name.empty() ? all.current : name;
  for (const Context& context : all.contexts) {
    if (context.name == wanted) return context;
  }
  if (!name.empty()) return fail(ErrorCode::not_found, "there is no context '" + name + "': see 'tutti context list'");
  return fail(ErrorCode::unavailable, "no pool is known here: 'tutti up' starts one, 'tutti login' connects to one");
}

Result<Context> login(const std::string& address, const std::string& authority, const std::string& credential,
                      const std::string& name) {
  TUTTI_TRY(const net::Endpoint endpoint, net::parse_endpoint(address));
  TUTTI_TRY(auto client, net::make_client(endpoint, {authority, {}, {}, {}}));
  net::Request request;
  request.method = "POST";
  request.target = request.path = "/v1/sessions";
  request.headers = {{"authorization", "Bearer " + credential}, {"content-type", "application/json"}};
  request.body = "{}";
  TUTTI_TRY(const net::Response answer, client->call(request, seconds(30)));
  if (answer.status != 201)
    return fail(ErrorCode::unauthenticated, "the pool at " + address + " refused the login: " + answer.body);
  TUTTI_TRY(const Document document, parse_json_document(answer.body));
  std::string token;
  for (uint32_t i = 1; i < document[0].next; i = document[i].next) {
    if (document[i].key == "token") token = std::string(document[i].text);
  }
  TUTTI_CHECK(save_context(name, address, authority, token, true));
  return Context{name, address, authority, token, ""};
}

}  // namespace tutti::cli
