#include "app/sim/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/limits.h"
#include "base/text.h"
#include "sys/file.h"

namespace tutti::app {
namespace {

constexpr size_t kFileBytesMax = 256u << 20;
constexpr int64_t kNumberMax = int64_t{1} << 40;

// A table with a header line, read line by line.
class Csv {
 public:
  static Result<Csv> open(std::string_view text, const std::string& file, const std::vector<std::string>& columns) {
    Csv out;
    out.file_ = file;
    out.lines_ = split(text, '\n');
    while (!out.lines_.empty() && out.lines_.back().empty()) out.lines_.pop_back();
    if (out.lines_.empty()) return fail(ErrorCode::invalid, fmt::format("{}: line 1: the header is missing", file));
    if (out.lines_[0].ends_with('\r')) out.lines_[0].pop_back();
    const std::vector<std::string> header = split(out.lines_[0], ',');
    for (size_t i = 0; i < header.size(); ++i) {
      if (!out.at_.try_emplace(header[i], i).second)
        return fail(ErrorCode::invalid, fmt::format("{}: line 1: column {} stands there twice", file, header[i]));
    }
    out.width_ = header.size();
    for (const std::string& column : columns) {
      if (!out.at_.contains(column))
        return fail(ErrorCode::invalid, fmt::format("{}: line 1: there is no column {} (needed: {})", file, column,
                                                    fmt::join(columns, ", ")));
    }
    return out;
  }
  // False at the end.
  Result<bool> next() {
    if (++line_ >= lines_.size()) return false;
    std::string& text = lines_[line_];
    if (text.ends_with('\r')) text.pop_back();
    fields_ = split(text, ',');
    if (fields_.size() != width_)
      return fail(ErrorCode::invalid, fmt::format("{}: line {}: {} fields where the header has {}", file_, line_ + 1,
                                                  fields_.size(), width_));
    return true;
  }
  bool has(const std::string& column) const { return at_.contains(column); }
  const std::string& text(const std::string& column) const { return fields_[at_.at(column)]; }
  Result<int64_t> number(const std::string& column, int64_t least, int64_t most) const {
    const std::string& field = text(column);
    int64_t out = 0;
    const auto [end, failed] = std::from_chars(field.data(), field.data() + field.size(), out);
    if (failed != std::errc{} || end != field.data() + field.size() || out < least || out > most)
      return wrong(column, fmt::format("is not a whole number from {} to {}", least, most));
    return out;
  }
  tl::unexpected<Error> wrong(const std::string& column, const std::string& why) const {
    return fail(ErrorCode::invalid,
                fmt::format("{}: line {}: column {}: '{}' {}", file_, line_ + 1, column, text(column), why));
  }

 private:
  std::string file_;
  std::vector<std::string> lines_;
  std::map<std::string, size_t> at_;
  size_t width_ = 0;
  size_t line_ = 0;
  std::vector<std::string> fields_;
};

Result<Resources> room(const Csv& csv) {
  TUTTI_TRY(const int64_t cpu, csv.number("cpu_milli", 0, kNumberMax));
  TUTTI_TRY(const int64_t memory, csv.number("memory_mib", 0, kNumberMax >> 20));
  return Resources{{cpu}, {memory << 20}, {}};
}

Result<TraceRequest> request(const Csv& csv) {
  TraceRequest out;
  TUTTI_TRY(out.resources, room(csv));
  TUTTI_TRY(const int64_t count, csv.number("num_gpu", 0, static_cast<int64_t>(limits::kDevicesMax)));
  if (count == 0) return out;
  TUTTI_TRY(const int64_t share, csv.number("gpu_milli", 1, kWholeDevice));
  DeviceSpec gpu;
  gpu.count = count;
  gpu.share = count == 1 ? share : kWholeDevice;
  if (csv.has("gpu_spec") && !csv.text("gpu_spec").empty()) gpu.models = split(csv.text("gpu_spec"), '|');
  std::ranges::sort(gpu.models);
  for (const std::string& model : gpu.models)
    if (model.empty()) return csv.wrong("gpu_spec", "has an empty model");
  out.gpu.push_back(std::move(gpu));
  return out;
}

}  // namespace

Result<Trace> parse_trace(std::string_view nodes, const std::string& nodes_file, std::string_view requests,
                          const std::string& requests_file) {
  Trace out;
  TUTTI_TRY(Csv machines, Csv::open(nodes, nodes_file, {"cpu_milli", "memory_mib", "gpu", "model"}));
  while (true) {
    TUTTI_TRY(const bool more, machines.next());
    if (!more) break;
    TraceNode node;
    TUTTI_TRY(node.capacity, room(machines));
    TUTTI_TRY(node.gpus, machines.number("gpu", 0, static_cast<int64_t>(limits::kDevicesMax)));
    if (node.gpus == 0) continue;
    node.model = machines.text("model");
    out.capacity += node.gpus * kWholeDevice;
    out.nodes.push_back(std::move(node));
  }
  if (out.nodes.empty()) return fail(ErrorCode::invalid, nodes_file + ": no machine with a GPU");
  TUTTI_TRY(Csv pods, Csv::open(requests, requests_file, {"cpu_milli", "memory_mib", "num_gpu", "gpu_milli"}));
  std::map<std::string, uint32_t> known;
  bool any = false;
  while (true) {
    TUTTI_TRY(const bool more, pods.next());
    if (!more) break;
    TUTTI_TRY(TraceRequest one, request(pods));
    any = any || !one.gpu.empty();
    std::string key = fmt::format("{} {}", one.resources.cpu.value, one.resources.memory.value);
    if (!one.gpu.empty()) key += " " + std::to_string(one.gpu[0].share) + " " + to_text(one.gpu[0]);
    const auto [at, fresh] = known.try_emplace(std::move(key), static_cast<uint32_t>(out.requests.size()));
    if (fresh) out.requests.push_back(std::move(one));
    out.list.push_back(at->second);
  }
  if (!any) return fail(ErrorCode::invalid, requests_file + ": nothing asks for a GPU");
  return out;
}

Result<Trace> read_trace(const std::string& nodes_file, const std::string& requests_file) {
  TUTTI_TRY(const std::string nodes, sys::read_file(nodes_file, kFileBytesMax));
  TUTTI_TRY(const std::string requests, sys::read_file(requests_file, kFileBytesMax));
  return parse_trace(nodes, nodes_file, requests, requests_file);
}

}  // namespace tutti::app
