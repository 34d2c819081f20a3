// What inlay-bench makes of a profile; the program itself gets one on a GPU only.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "../../examples/bench/profile_report.hpp"
#include "../../examples/bench/report.hpp"

namespace {

using namespace inlay_bench;  // NOLINT(google-build-using-namespace)
using inlay::PassStep;

/// Two layers, 10 MB in 20 us of steps and 16 us of the pass: 500 and 625 GB/s.
DepthProfile two_layers(double peak) {
  DepthProfile profile;
  profile.depth = 7;
  profile.pass.time_us = 16.0;
  profile.pass.peak_bytes_per_second = peak;
  profile.pass.steps = {{PassStep::kEmbed, -1, 1.0, 0},       {PassStep::kQkv, 0, 2.0, 1'000'000},
                        {PassStep::kDown, 0, 3.0, 2'000'000}, {PassStep::kQkv, 1, 4.0, 3'000'000},
                        {PassStep::kDown, 1, 5.0, 2'000'000}, {PassStep::kHead, -1, 4.0, 2'000'000},
                        {PassStep::kChoose, -1, 1.0, 0}};
  return profile;
}

/// The row of the table that begins with a name; "" if there is none.
std::string row_of(const std::string& table, const std::string& name) {
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("| " + name + " ") == 0) return line;
  }
  return {};
}

TEST_CASE("steps are summed over the layers, in the order in which they run") {
  const auto sums = sums_of(two_layers(0.0).pass);
  REQUIRE(sums.size() == 5);
  CHECK(sums[0].step == PassStep::kEmbed);
  CHECK(sums[1].step == PassStep::kQkv);
  CHECK(sums[1].count == 2);
  CHECK(sums[1].time_us == 6.0);
  CHECK(sums[1].bytes == 4'000'000);
  CHECK(sums[2].step == PassStep::kDown);
  CHECK(sums[4].step == PassStep::kChoose);
  CHECK(sums[4].count == 1);
  CHECK(sums_of({}).empty());
}

TEST_CASE("the table of a profile has a row for each kind of step, their sum and the captured pass") {
  const std::string table = profile_markdown(two_layers(2.5e12));
  CHECK(table.find("behind 7 others") != std::string::npos);
  CHECK(table.find("2500.0 GB/s") != std::string::npos);
  CHECK(row_of(table, "qkv") == "| qkv           |     2 |     3.00 |      6.00 |     4.000 |   666.7 |  26.7 % |");
  CHECK(row_of(table, "choose") == "| choose        |     1 |     1.00 |      1.00 |     0.000 |     0.0 |   0.0 % |");
  CHECK(row_of(table, "all steps") ==
        "| all steps     |     7 |     2.86 |     20.00 |    10.000 |   500.0 |  20.0 % |");
  CHECK(row_of(table, "captured pass") ==
        "| captured pass |     1 |    16.00 |     16.00 |    10.000 |   625.0 |  25.0 % |");
}

TEST_CASE("without a known peak there are no shares, and an empty profile divides by nothing") {
  const std::string table = profile_markdown(two_layers(0.0));
  CHECK(table.find("peak") == std::string::npos);
  CHECK(table.find('%') == std::string::npos);
  CHECK(row_of(table, "qkv") == "| qkv           |     2 |     3.00 |      6.00 |     4.000 |   666.7 |         |");
  const std::string empty = profile_markdown({});
  CHECK(row_of(empty, "all steps") ==
        "| all steps     |     0 |     0.00 |      0.00 |     0.000 |     0.0 |         |");
  const auto json = profile_json(two_layers(0.0));
  CHECK(!json.contains("peak_gb_per_second"));
  CHECK(!json["captured_pass"].contains("bandwidth_share"));
}

TEST_CASE("a report with profiles has them in both formats, and without them no word of them") {
  Report report;
  report.profiles = {two_layers(2.5e12), two_layers(2.5e12)};
  report.profiles[1].depth = 9;
  const std::string text = to_markdown(report);
  CHECK(text.find("behind 7 others") < text.find("behind 9 others"));
  CHECK(text.find("tok/s") == std::string::npos);

  const auto json = nlohmann::json::parse(to_json(report));
  REQUIRE(json["profiles"].size() == 2);
  const auto& profile = json["profiles"][0];
  CHECK(profile["depth"] == 7);
  CHECK(profile["peak_gb_per_second"] == 2500.0);
  CHECK(profile["captured_pass"]["us"] == 16.0);
  CHECK(profile["captured_pass"]["bytes"] == 10'000'000);
  CHECK(profile["captured_pass"]["gb_per_second"] == doctest::Approx(625.0));
  CHECK(profile["captured_pass"]["bandwidth_share"] == doctest::Approx(0.25));
  REQUIRE(profile["sums"].size() == 5);
  CHECK(profile["sums"][1]["step"] == "qkv");
  CHECK(profile["sums"][1]["count"] == 2);
  CHECK(profile["sums"][1]["bytes"] == 4'000'000);
  REQUIRE(profile["steps"].size() == 7);
  CHECK(profile["steps"][3]["step"] == "qkv");
  CHECK(profile["steps"][3]["layer"] == 1);
  CHECK(profile["steps"][3]["us"] == 4.0);
  CHECK(profile["steps"][6]["layer"] == -1);

  report.profiles.clear();
  CHECK(!nlohmann::json::parse(to_json(report)).contains("profiles"));
  CHECK(to_markdown(report).find("profile") == std::string::npos);
}

}  // namespace
