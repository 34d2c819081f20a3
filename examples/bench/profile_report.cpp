#include "profile_report.hpp"

#include <algorithm>

#include "text.hpp"

namespace inlay_bench {
namespace {

using inlay::PassProfile;
using inlay::StepProfile;
using Json = nlohmann::ordered_json;

/// Of work that reads `bytes` in a time; 0 for no time.
double bytes_per_second(std::uint64_t bytes, double time_us) {
  return time_us > 0 ? static_cast<double>(bytes) * 1e6 / time_us : 0.0;
}

/// All steps together.
StepSum total_of(const PassProfile& pass) {
  StepSum total;
  for (const StepProfile& step : pass.steps) {
    ++total.count;
    total.time_us += step.time_us;
    total.bytes += step.bytes;
  }
  return total;
}

std::string table_row(const char* name, const StepSum& sum, double peak) {
  const double rate = bytes_per_second(sum.bytes, sum.time_us);
  std::string row =
      format("| %-13s | %5d | %8.2f | %9.2f | %9.3f | %7.1f |", name, sum.count, sum.time_us / std::max(sum.count, 1),
             sum.time_us, static_cast<double>(sum.bytes) / kMega, rate / kGiga);
  return row + (peak > 0 ? format(" %5.1f %% |\n", 100 * rate / peak) : "         |\n");
}

/// Adds what `bytes` in a time are to the memory's peak.
void add_rates(Json& json, std::uint64_t bytes, double time_us, double peak) {
  const double rate = bytes_per_second(bytes, time_us);
  json["us"] = time_us;
  json["bytes"] = bytes;
  json["gb_per_second"] = rate / kGiga;
  if (peak > 0) json["bandwidth_share"] = rate / peak;
}

}  // namespace

std::vector<StepSum> sums_of(const PassProfile& pass) {
  std::vector<StepSum> sums;
  for (const StepProfile& step : pass.steps) {
    auto sum = std::find_if(sums.begin(), sums.end(), [&](const StepSum& known) { return known.step == step.step; });
    if (sum == sums.end()) sum = sums.insert(sums.end(), StepSum{step.step});
    ++sum->count;
    sum->time_us += step.time_us;
    sum->bytes += step.bytes;
  }
  return sums;
}

std::string profile_markdown(const DepthProfile& profile) {
  const PassProfile& pass = profile.pass;
  const double peak = pass.peak_bytes_per_second;
  std::string text = format("\nprofile of a token behind %d others, steps one by one", profile.depth);
  if (peak > 0) text += format("; the memory's peak: %.1f GB/s", peak / kGiga);
  text +=
      "\n\n"
      "| step          | count |  us each |        us |        MB |    GB/s |   share |\n"
      "|---------------|------:|---------:|----------:|----------:|--------:|--------:|\n";
  for (const StepSum& sum : sums_of(pass)) text += table_row(inlay::to_string(sum.step), sum, peak);
  StepSum total = total_of(pass);
  text += table_row("all steps", total, peak);
  total.count = 1;
  total.time_us = pass.time_us;
  return text + table_row("captured pass", total, peak);
}

Json profile_json(const DepthProfile& profile) {
  const PassProfile& pass = profile.pass;
  const double peak = pass.peak_bytes_per_second;
  Json json = {{"depth", profile.depth}};
  if (peak > 0) json["peak_gb_per_second"] = peak / kGiga;
  add_rates(json["captured_pass"], total_of(pass).bytes, pass.time_us, peak);
  json["sums"] = Json::array();
  for (const StepSum& sum : sums_of(pass)) {
    Json entry = {{"step", inlay::to_string(sum.step)}, {"count", sum.count}};
    add_rates(entry, sum.bytes, sum.time_us, peak);
    json["sums"].push_back(std::move(entry));
  }
  json["steps"] = Json::array();
  for (const StepProfile& step : pass.steps) {
    json["steps"].push_back(
        {{"step", inlay::to_string(step.step)}, {"layer", step.layer}, {"us", step.time_us}, {"bytes", step.bytes}});
  }
  return json;
}

}  // namespace inlay_bench
