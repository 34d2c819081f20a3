#include "report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace inlay_run {
namespace {

using Json = nlohmann::ordered_json;

const char* name_of(inlay::DeviceKind kind) { return kind == inlay::DeviceKind::kCuda ? "cuda" : "cpu"; }

const char* name_of(inlay::FinishReason reason) {
  switch (reason) {
    case inlay::FinishReason::kEndOfGeneration:
      return "end_of_generation";
    case inlay::FinishReason::kMaxTokens:
      return "max_tokens";
    case inlay::FinishReason::kContextFull:
      return "context_full";
    case inlay::FinishReason::kStopped:
      return "stopped";
    case inlay::FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

/// 0 when there is nothing to divide by.
double per_second(std::size_t count, Milliseconds time) {
  return time.count() > 0 ? static_cast<double>(count) * 1000.0 / time.count() : 0.0;
}

/// The first token comes from the prefill's logits: decoding starts after it.
std::size_t decoded_tokens(const Report& report) {
  return std::max<std::size_t>(report.generation.tokens.size(), 1) - 1;
}

Json model_json(const Report& report, const inlay::ModelInfo& info) {
  return {{"path", report.model_path},
          {"architecture", info.architecture},
          {"name", info.name},
          {"quantization", info.quantization},
          {"parameters", info.parameters},
          {"file_bytes", info.file_bytes},
          {"vocab_size", info.vocab_size},
          {"context_length", info.context_length},
          {"n_layers", info.n_layers},
          {"embedding_length", info.embedding_length},
          {"feed_forward_length", info.feed_forward_length},
          {"n_heads", info.n_heads},
          {"n_kv_heads", info.n_kv_heads},
          {"head_size", info.head_size}};
}

Json timings_json(const Report& report) {
  const Timings& timings = report.timings;
  return {{"load_ms", timings.load.count()},
          {"prefill_ms", timings.prefill.count()},
          {"prefill_tokens_per_second", per_second(report.prompt_tokens.size(), timings.prefill)},
          {"decode_ms", timings.decode.count()},
          {"decode_tokens", decoded_tokens(report)},
          {"decode_tokens_per_second", per_second(decoded_tokens(report), timings.decode)}};
}

}  // namespace

std::string to_json(const Report& report, const inlay::Model& model) {
  const inlay::DeviceInfo& device = model.device();
  const Json json = {{"version", inlay::version_string()},
                     {"model", model_json(report, model.info())},
                     {"backend", name_of(device.kind)},
                     {"device", device.name},
                     {"isa", device.isa},
                     {"threads", model.threads()},
                     {"prompt_tokens", report.prompt_tokens},
                     {"output_tokens", report.generation.tokens},
                     {"text", report.generation.text},
                     {"finish_reason", name_of(report.generation.finish_reason)},
                     {"timings", timings_json(report)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);  // names in a file may hold any bytes
}

std::string closing_line(const Report& report, const inlay::Model& model) {
  const inlay::DeviceInfo& device = model.device();
  char line[256] = {};
  std::snprintf(line, sizeof line,
                "inlay-run: prefill %zu tokens, %.1f tok/s; decode %zu tokens, %.1f tok/s; load %.0f ms; %s %s, %d %s",
                report.prompt_tokens.size(), per_second(report.prompt_tokens.size(), report.timings.prefill),
                decoded_tokens(report), per_second(decoded_tokens(report), report.timings.decode),
                report.timings.load.count(), name_of(device.kind), device.isa.c_str(), model.threads(),
                model.threads() == 1 ? "thread" : "threads");
  return line;
}

}  // namespace inlay_run
