#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "base/printable.h"
#include "base/text.h"
#include "cli/say.h"
#include "cli/session.h"
#include "model/codec.h"
#include "model/values.h"

namespace tutti::cli {
namespace {

std::string age(const std::string& text) {
  auto time = parse_time(text);
  if (!time || !*time) return "-";
  const int64_t s = (SystemClock().now() - *time).ns / 1'000'000'000;
  if (s < 120) return std::to_string(std::max<int64_t>(0, s)) + "s";
  if (s < 7200) return std::to_string(s / 60) + "m";
  if (s < 172800) return std::to_string(s / 3600) + "h";
  return std::to_string(s / 86400) + "d";
}

std::string ports(const Json& row) {
  std::vector<std::string> out;
  for (const Json& port : row["status.ports"].items()) {
    out.push_back(row["status.node_address"].text() + ":" + port["host"].text() + "->" + port["container"].text());
  }
  return join(out, " ");
}

std::string drivers(const Json& row) {
  std::vector<std::string> out;
  for (const Json& driver : row["status.drivers"].items())
    out.push_back(driver["name"].text() + (driver["healthy"].text() == "true" ? "" : "!"));
  return join(out, ",");
}

}  // namespace

void say(std::FILE* to, const char* format, ...) {
  va_list words;
  va_start(words, format);
  char* made = nullptr;
  const int length = ::vasprintf(&made, format, words);
  va_end(words);
  if (length < 0) return;
  const std::string text = printable({made, static_cast<size_t>(length)}, '?', true);
  std::free(made);
  std::fwrite(text.data(), 1, text.size(), to);
}

// "~" paths are computed: ~age:created, ~bytes:status.size, ~ports, ~share:cpu …
std::string cell(const Json& row, const std::string& path) {
  if (path == "~ports") return ports(row);
  if (path == "~health") return row["status.health"].text() == "none" ? "" : row["status.health"].text();
  if (path == "~drivers") return drivers(row);
  if (path == "~version") return row["version"].text() + (row["status.active"].text() == "true" ? " (active)" : "");
  if (path == "~version-state") {
    const std::string state = row["status.state"].text();
    return state == "active" && row["status.active"].text() != "true" ? "superseded" : state;
  }
  if (path.starts_with("~age:")) return age(row[path.substr(5)].text());
  if (path.starts_with("~bytes:")) return format_bytes({row[path.substr(7)].number()});
  if (path.starts_with("~short:")) return row[path.substr(7)].text().substr(0, 19);
  if (path.starts_with("~words:")) {
    std::vector<std::string> words;
    for (const Json& word : row[path.substr(7)].items()) words.push_back(word.text());
    return join(words, " ");
  }
  if (path == "~cpu")
    return format_millicores({row["status.used.cpu"].number()}) + "/" +
           format_millicores({row["status.capacity.cpu"].number()});
  if (path == "~memory")
    return format_bytes({row["status.used.memory"].number()}) + "/" +
           format_bytes({row["status.capacity.memory"].number()});
  if (path.starts_with("~cpu:")) return format_millicores({row[path.substr(5)].number()});
  if (path == "~count") return row["status.running"].text() + "/" + row["status.wanted"].text();
  return row[path].text();
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
    }
    say(stdout, "%s\n", line.c_str());
  }
}

int print_list(const Session& session, const Json& answer, const std::vector<Column>& columns, const std::string& raw) {
  if (session.output == "json") return std::printf("%s\n", raw.c_str()), 0;
  if (session.output == "yaml") {
    auto yaml = json_to_yaml(raw);
    if (!yaml) return complain(yaml.error());
    return std::printf("%s", yaml->c_str()), 0;
  }
  std::vector<std::vector<std::string>> rows;
  if (session.output != "name") {
    rows.emplace_back();
    for (const Column& column : columns) rows.back().push_back(column.title);
  }
  for (const Json& item : answer["items"].items()) {
    rows.emplace_back();
    if (session.output == "name")
      rows.back().push_back(item["name"].text());
    else
      for (const Column& column : columns) rows.back().push_back(printable(cell(item, column.path)));  // one line each
  }
  print_table(rows);
  return 0;
}

int print_object(const Session& session, const Json& object) {
  if (session.output == "json") return std::printf("%s\n", object.raw().c_str()), 0;
  if (session.output == "name") return say(stdout, "%s\n", object["name"].text().c_str()), 0;
  auto yaml = json_to_yaml(object.raw());
  if (!yaml) return complain(yaml.error());
  return std::printf("%s", yaml->c_str()), 0;
}

}  // namespace tutti::cli
