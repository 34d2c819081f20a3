// The command line of inlay-run.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include <inlay/inlay.hpp>

namespace inlay_run {

inline constexpr int kExitFailure = 1;        // the library or the operating system said no
inline constexpr int kExitUsage = 2;          // the command line makes no sense
inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells count

struct Options {
  std::string model_path;
  std::string prompt;
  std::string prompt_path;  // read instead of `prompt` unless empty; "-" is standard input
  std::int32_t max_tokens = 256;
  std::int32_t threads = 0;
  std::int32_t context_length = 0;
  inlay::SamplingOptions sampling;
  std::string cpu_isa;
  inlay::KvFormat kv_format = inlay::KvFormat::kF16;
  bool use_gpu = false;
  bool print_json = false;
  bool parse_special = false;
};

/// The options, or the exit status after help, the version or a usage error has been printed.
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace inlay_run
