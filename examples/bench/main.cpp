// inlay-bench: measures prefill and decode speed of a GGUF model.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <inlay/inlay.hpp>

#include "bandwidth.hpp"
#include "file_sizes.hpp"
#include "measure.hpp"
#include "options.hpp"
#include "profile.hpp"
#include "report.hpp"

namespace inlay_bench {
namespace {

using inlay::Result;

/// One line that changes on a terminal, and nothing elsewhere.
class Progress {
 public:
  ~Progress() { show(""); }
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& text) const {
    if (terminal_) std::fprintf(stderr, "\r%s\033[K", text.c_str());
  }
  void show(const Measurement& measurement, std::int32_t repetition, std::int32_t repetitions) const {
    if (!terminal_) return;
    const std::string number =
        repetition == 0 ? "warming up" : std::to_string(repetition) + "/" + std::to_string(repetitions);
    show((measurement.phase == Phase::kPrefill ? "prefill " : "decode ") + std::to_string(measurement.tokens) +
         ", depth " + std::to_string(measurement.depth) + ", threads " + std::to_string(measurement.threads) +
         ", sequences " + std::to_string(measurement.sequences) + ": " + number);
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1;
};

int fail(const inlay::Status& status) {
  const std::string& message = status.message();
  std::fprintf(stderr, "inlay-bench: %s\n", message.empty() ? inlay::to_string(status.code()) : message.c_str());
  return kExitFailure;
}

inlay::ModelOptions model_options(const Options& options, std::int32_t threads) {
  inlay::ModelOptions model_options;
  model_options.device = options.device;
  model_options.threads = threads;
  model_options.cpu_isa = options.cpu_isa;
  return model_options;
}

/// Everything about the model that does not depend on the number of threads.
Result<void> describe(const inlay::Model& model, const Options& options, Report& report) {
  constexpr std::int32_t kPositions = 4096;  // any number of whole KV pages
  report.model = model.info();
  report.device = model.device();
  auto sizes = read_file_sizes(options.model_path);
  if (!sizes.ok()) return sizes.status();
  report.sizes = *sizes;
  auto estimate = inlay::Model::estimate(options.model_path, kPositions, model_options(options, 1));
  if (!estimate.ok()) return estimate.status();
  report.kv_bytes_per_position = estimate->kv_bytes / kPositions;
  return {};
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {}

  Result<Report> run() {
    report_.model_path = options_.model_path;
    report_.repetitions = options_.repetitions;
    if (options_.mode == Mode::kProfile) {
      if (auto done = run_profiles(); !done.ok()) return done.status();
      return std::move(report_);
    }
    for (const std::int32_t threads : options_.threads) {
      if (auto done = run_with(threads); !done.ok()) return done.status();
    }
    return std::move(report_);
  }

 private:
  Result<inlay::Model> open(std::int32_t threads) {
    progress_.show("opening the model");
    auto model = inlay::Model::open(options_.model_path, model_options(options_, threads));
    if (!model.ok()) return model;
    if (auto described = describe(*model, options_, report_); !described.ok()) return described.status();
    return model;
  }

  Result<void> run_profiles() {
    const auto model = open(options_.threads.front());
    if (!model.ok()) return model.status();
    progress_.show("timing the steps of a pass");
    auto profiles = profile_all(*model, options_);
    if (!profiles.ok()) return profiles.status();
    report_.profiles = *std::move(profiles);
    return {};
  }

  Result<void> run_with(std::int32_t threads) {
    const auto model = open(threads);
    if (!model.ok()) return model.status();
    if (auto measured = measure_bandwidth(model->threads()); !measured.ok()) return measured;
    auto measurements = measure_all(*model, options_, [this](const Measurement& measurement, std::int32_t repetition) {
      progress_.show(measurement, repetition, options_.repetitions);
    });
    if (!measurements.ok()) return measurements.status();
    report_.measurements.insert(report_.measurements.end(), measurements->begin(), measurements->end());
    return measure_bandwidth(model->threads());
  }

  /// Keeps the best figure for each number of threads.
  Result<void> measure_bandwidth(std::int32_t threads) {
    if (options_.device != inlay::DeviceKind::kCpu) return {};  // the host's memory does not bound a GPU
    progress_.show("measuring the read bandwidth");
    auto bandwidth = ReadBandwidth::create();
    if (!bandwidth.ok()) return bandwidth.status();
    const double measured = bandwidth->measure(threads);
    for (ThreadBandwidth& known : report_.bandwidths) {
      if (known.threads != threads) continue;
      known.bytes_per_second = std::max(known.bytes_per_second, measured);
      return {};
    }
    report_.bandwidths.push_back({threads, measured});
    return {};
  }

  const Options& options_;
  Progress progress_;
  Report report_;
};

int run(const Options& options) {
  std::optional<Bench> bench(options);
  const auto report = bench->run();
  bench.reset();  // clears the progress line
  if (!report.ok()) return fail(report.status());
  const std::string text = options.output == OutputFormat::kJson ? to_json(*report) + "\n" : to_markdown(*report);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return fail({inlay::StatusCode::kIoError, "standard output: cannot be written"});
  }
  return 0;
}

}  // namespace
}  // namespace inlay_bench

int main(int argc, char** argv) {
  try {
    const auto options = inlay_bench::parse_options(argc, argv);
    if (const int* exit_status = std::get_if<int>(&options)) return *exit_status;
    return inlay_bench::run(std::get<inlay_bench::Options>(options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "inlay-bench: %s\n", error.what());
    return inlay_bench::kExitFailure;
  }
}
