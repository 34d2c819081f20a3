#include "report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "profile_report.hpp"
#include "text.hpp"

namespace inlay_bench {
namespace {

using Json = nlohmann::ordered_json;

const char* name_of(Phase phase) { return phase == Phase::kPrefill ? "prefill" : "decode"; }
const char* name_of(inlay::DeviceKind kind) { return kind == inlay::DeviceKind::kCuda ? "cuda" : "cpu"; }

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double bandwidth_of(const Report& report, std::int32_t threads) {
  for (const ThreadBandwidth& bandwidth : report.bandwidths) {
    if (bandwidth.threads == threads) return bandwidth.bytes_per_second;
  }
  return 0;
}

/// Of one forward pass over all sequences, on average over the decoded tokens.
double step_bytes(const Report& report, const Measurement& measurement) {
  const double positions = measurement.depth + (measurement.tokens + 1) / 2.0;
  return static_cast<double>(report.sizes.token_bytes) +
         measurement.sequences * positions * static_cast<double>(report.kv_bytes_per_position);
}

/// Of one prefilled token: the output matrix is needed for the last one only.
double token_operations(const Report& report, const Measurement& measurement) {
  return 2.0 * (static_cast<double>(report.sizes.layer_parameters) +
                static_cast<double>(report.sizes.head_parameters) / measurement.tokens);
}

Json model_json(const Report& report) {
  return {{"path", report.model_path},
          {"architecture", report.model.architecture},
          {"name", report.model.name},
          {"quantization", report.model.quantization},
          {"parameters", report.model.parameters},
          {"file_bytes", report.model.file_bytes},
          {"token_bytes", report.sizes.token_bytes},
          {"layer_parameters", report.sizes.layer_parameters},
          {"head_parameters", report.sizes.head_parameters},
          {"kv_bytes_per_position", report.kv_bytes_per_position}};
}

Json measurement_json(const Report& report, const Measurement& measurement) {
  const Figures figures = figures_of(report, measurement);
  Json json = {{"phase", name_of(measurement.phase)},
               {"tokens", measurement.tokens},
               {"depth", measurement.depth},
               {"sequences", measurement.sequences},
               {"threads", measurement.threads},
               {"tokens_per_second", figures.median},
               {"least_tokens_per_second", figures.least},
               {"most_tokens_per_second", figures.most},
               {"samples", figures.samples}};
  if (measurement.phase == Phase::kPrefill) {
    json["gop_per_second"] = figures.operations_per_second / kGiga;
  } else {
    json["gb_per_second"] = figures.bytes_per_second / kGiga;
    if (figures.bandwidth_share > 0) json["bandwidth_share"] = figures.bandwidth_share;
  }
  return json;
}

/// Tokens a second with four significant digits or none after the point.
std::string rate(double value) { return format(value < 10 ? "%.3f" : value < 1000 ? "%.1f" : "%.0f", value); }

std::string table_row(const Report& report, const Measurement& measurement) {
  const Figures figures = figures_of(report, measurement);
  const std::string test = format("%s %d", name_of(measurement.phase), measurement.tokens);
  const std::string spread = rate(figures.least) + " - " + rate(figures.most);
  std::string row = format("| %-13s | %5d | %7d | %9d | %8s | %17s |", test.c_str(), measurement.depth,
                           measurement.threads, measurement.sequences, rate(figures.median).c_str(), spread.c_str());
  if (measurement.phase == Phase::kPrefill)
    return row + format(" %6s | %6s | %6.0f |\n", "", "", figures.operations_per_second / kGiga);
  row += format(" %6.2f |", figures.bytes_per_second / kGiga);
  row += figures.bandwidth_share > 0 ? format(" %4.1f %% |", 100 * figures.bandwidth_share) : "        |";
  return row + "        |\n";
}

std::string heading(const Report& report) {
  std::string text =
      "model: " + (report.model.name.empty() ? report.model_path : report.model.name) + ", " +
      report.model.architecture + " " + report.model.quantization +
      format(", %.0f M parameters, %.1f MB; a decoded token reads %.1f MB and %llu bytes per position\n",
             static_cast<double>(report.model.parameters) / kMega, static_cast<double>(report.model.file_bytes) / kMega,
             static_cast<double>(report.sizes.token_bytes) / kMega,
             static_cast<unsigned long long>(report.kv_bytes_per_position));
  text += format("inlay: %s, %s ", inlay::version_string(), name_of(report.device.kind)) + report.device.isa + " on " +
          report.device.name + "\n";
  for (const ThreadBandwidth& bandwidth : report.bandwidths) {
    if (bandwidth.bytes_per_second == 0) continue;
    text += format("read bandwidth, %d %s: %.1f GB/s\n", bandwidth.threads,
                   bandwidth.threads == 1 ? "thread" : "threads", bandwidth.bytes_per_second / kGiga);
  }
  return text;
}

}  // namespace

Figures figures_of(const Report& report, const Measurement& measurement) {
  Figures figures;
  const double tokens = static_cast<double>(measurement.tokens) * measurement.sequences;
  for (const double seconds : measurement.seconds) figures.samples.push_back(tokens / seconds);
  figures.median = median_of(figures.samples);
  const auto [least, most] = std::minmax_element(figures.samples.begin(), figures.samples.end());
  figures.least = *least;
  figures.most = *most;
  if (measurement.phase == Phase::kPrefill) {
    figures.operations_per_second = token_operations(report, measurement) * figures.median;
    return figures;
  }
  figures.bytes_per_second = step_bytes(report, measurement) * figures.median / measurement.sequences;
  const double limit = bandwidth_of(report, measurement.threads);
  if (limit > 0) figures.bandwidth_share = figures.bytes_per_second / limit;
  return figures;
}

std::string to_json(const Report& report) {
  Json bandwidths = Json::array();
  for (const ThreadBandwidth& bandwidth : report.bandwidths) {
    bandwidths.push_back({{"threads", bandwidth.threads}, {"gb_per_second", bandwidth.bytes_per_second / kGiga}});
  }
  Json results = Json::array();
  for (const Measurement& measurement : report.measurements) results.push_back(measurement_json(report, measurement));
  Json json = {
      {"version", inlay::version_string()}, {"model", model_json(report)}, {"backend", name_of(report.device.kind)},
      {"device", report.device.name},       {"isa", report.device.isa},    {"repetitions", report.repetitions},
      {"read_bandwidth", bandwidths},       {"results", results}};
  for (const DepthProfile& profile : report.profiles) json["profiles"].push_back(profile_json(profile));
  return json.dump(1, ' ', false, Json::error_handler_t::replace);  // names in a file may hold any bytes
}

std::string to_markdown(const Report& report) {
  std::string text = heading(report);
  for (const DepthProfile& profile : report.profiles) text += profile_markdown(profile);
  if (report.measurements.empty()) return text;
  text +=
      "\n"
      "| test          | depth | threads | sequences |    tok/s |       least, most |   GB/s |  share |  GOP/s |\n"
      "|---------------|------:|--------:|----------:|---------:|------------------:|-------:|-------:|-------:|\n";
  for (const Measurement& measurement : report.measurements) text += table_row(report, measurement);
  return text;
}

}  // namespace inlay_bench
