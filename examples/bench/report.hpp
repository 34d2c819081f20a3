// What inlay-bench says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "file_sizes.hpp"
#include "measure.hpp"
#include "profile.hpp"

namespace inlay_bench {

/// How fast a number of threads reads memory.
struct ThreadBandwidth {
  std::int32_t threads = 1;
  double bytes_per_second = 0;  // 0: not measured
};

struct Report {
  std::string model_path;
  inlay::ModelInfo model;
  inlay::DeviceInfo device;
  FileSizes sizes;
  std::uint64_t kv_bytes_per_position = 0;
  std::int32_t repetitions = 0;
  std::vector<ThreadBandwidth> bandwidths;  // one for each number of threads
  std::vector<Measurement> measurements;
  std::vector<DepthProfile> profiles;  // instead of measurements
};

/// What follows from a measurement. The help text of inlay-bench has the formulas.
struct Figures {
  double median = 0, least = 0, most = 0;  // tokens a second
  std::vector<double> samples;             // tokens a second, in the order of measuring
  double bytes_per_second = 0;             // decode only
  double bandwidth_share = 0;              // decode only; 0: the bandwidth is unknown
  double operations_per_second = 0;        // prefill only
};

Figures figures_of(const Report& report, const Measurement& measurement);

/// One JSON object, without a line end.
std::string to_json(const Report& report);

/// Lines about model and machine, and a table, or one for each profile.
std::string to_markdown(const Report& report);

}  // namespace inlay_bench
