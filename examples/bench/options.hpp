// The command line of inlay-bench.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include <inlay/inlay.hpp>

namespace inlay_bench {

inline constexpr int kExitFailure = 1;  // the library or the operating system said no
inline constexpr int kExitUsage = 2;    // the command line makes no sense

/// What is measured: speeds, or the steps of a pass.
enum class Mode : std::int32_t { kSpeed, kProfile };

enum class OutputFormat : std::int32_t { kMarkdown, kJson };

/// Everything is measured for every combination of depth, threads and sequences.
struct Options {
  std::string model_path;
  Mode mode = Mode::kSpeed;
  std::vector<std::int32_t> prefill_tokens = {512};  // 0: no prefill
  std::vector<std::int32_t> decode_tokens = {128};   // 0: no decode
  std::vector<std::int32_t> depths = {0};
  std::vector<std::int32_t> threads = {0};  // 0: one per core
  std::vector<std::int32_t> sequences = {1};
  std::int32_t repetitions = 5;
  inlay::DeviceKind device = inlay::DeviceKind::kCpu;
  std::string cpu_isa;
  OutputFormat output = OutputFormat::kMarkdown;
};

/// The options, or the exit status after help, the version or a usage error has been printed.
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace inlay_bench
