// inlay-run: generates text from a GGUF model on the command line.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <inlay/inlay.hpp>

#include "interrupt.hpp"
#include "options.hpp"
#include "report.hpp"

namespace inlay_run {
namespace {

/// Shows a percentage on a terminal, and nothing elsewhere.
class LoadProgress {
 public:
  void show(float fraction) {
    const int percent = static_cast<int>(fraction * 100.0F);
    if (!terminal_ || percent == percent_) return;
    percent_ = percent;
    std::fprintf(stderr, "\rloading %3d%%", percent);
  }
  void clear() const {
    if (percent_ >= 0) std::fputs("\r            \r", stderr);
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1;
  int percent_ = -1;
};

int fail(const inlay::Status& status) {
  const std::string& message = status.message();
  std::fprintf(stderr, "inlay-run: %s\n", message.empty() ? inlay::to_string(status.code()) : message.c_str());
  return status.code() == inlay::StatusCode::kCancelled ? kExitInterrupted : kExitFailure;
}

inlay::Result<std::string> read_prompt(const Options& options) {
  if (options.prompt_path.empty()) return options.prompt;
  const bool from_stdin = options.prompt_path == "-";
  std::ifstream file;
  if (!from_stdin && !std::filesystem::is_directory(options.prompt_path)) file.open(options.prompt_path);
  if (!from_stdin && !file.is_open()) {
    return inlay::Status(inlay::StatusCode::kIoError, "file \"" + options.prompt_path + "\": cannot be read");
  }
  std::istream& input = from_stdin ? std::cin : file;
  return std::string(std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>());
}

bool has_cuda() {
  for (const inlay::DeviceInfo& device : inlay::devices()) {
    if (device.kind == inlay::DeviceKind::kCuda) return true;
  }
  return false;
}

inlay::Result<inlay::Model> open_model(const Options& options, const Interrupt& interrupt) {
  inlay::ModelOptions model_options;
  model_options.threads = options.threads;
  model_options.cpu_isa = options.cpu_isa;
  model_options.kv_format = options.kv_format;
  if (options.use_gpu && has_cuda()) {
    model_options.device = inlay::DeviceKind::kCuda;
  } else if (options.use_gpu) {
    std::fputs("inlay-run: warning: no CUDA GPU that inlay can use; going on with the CPU\n", stderr);
  }
  LoadProgress progress;
  model_options.progress = [&](float fraction) {
    progress.show(fraction);
    return interrupt.requested() ? inlay::Flow::kStop : inlay::Flow::kContinue;
  };
  auto model = inlay::Model::open(options.model_path, model_options);
  progress.clear();
  return model;
}

/// Prompt ids; never none, because a model needs something to start from.
inlay::Result<std::vector<inlay::TokenId>> encode_prompt(const Options& options, const inlay::Tokenizer& tokenizer) {
  auto text = read_prompt(options);
  if (!text.ok()) return text.status();
  inlay::EncodeOptions encode_options;
  if (options.parse_special) encode_options.parse_special = inlay::ParseSpecial::kYes;
  auto tokens = tokenizer.encode(*text, encode_options);
  if (!tokens.ok() || !tokens->empty()) return tokens;
  if (tokenizer.bos() < 0) {
    return inlay::Status(inlay::StatusCode::kInvalidArgument,
                         "prompt: is empty, and the model has no token that begins a text");
  }
  return std::vector<inlay::TokenId>{tokenizer.bos()};
}

/// Measures the decode phase by the callbacks and prints the text as it comes.
class TokenPrinter {
 public:
  explicit TokenPrinter(bool print) : print_(print) {}

  inlay::Flow operator()(inlay::TokenId token, std::string_view text) {
    if (token >= 0) {
      last_ = Clock::now();
      if (first_ == Clock::time_point()) first_ = last_;
    }
    if (!print_ || text.empty()) return inlay::Flow::kContinue;
    ends_line_ = text.back() == '\n';
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0 ? inlay::Flow::kContinue : inlay::Flow::kStop;
  }
  void end_line() const {
    if (print_ && !ends_line_) std::fputs("\n", stdout);
  }
  [[nodiscard]] Milliseconds decode_time() const { return last_ - first_; }

 private:
  bool print_;
  bool ends_line_ = true;
  Clock::time_point first_;
  Clock::time_point last_;
};

inlay::Result<void> generate(const Options& options, inlay::Session& session, Report& report) {
  const auto start = Clock::now();
  if (auto prefilled = session.prefill(report.prompt_tokens); !prefilled.ok()) return prefilled;
  report.timings.prefill = Clock::now() - start;
  TokenPrinter printer(!options.print_json);
  inlay::GenerateOptions generate_options;
  generate_options.max_tokens = options.max_tokens;
  generate_options.on_token = [&printer](inlay::TokenId token, std::string_view text) { return printer(token, text); };
  auto generation = session.generate(generate_options);
  printer.end_line();
  if (!generation.ok()) return generation.status();
  report.generation = *std::move(generation);
  report.timings.decode = printer.decode_time();
  return {};
}

int run(const Options& options) {
  Interrupt interrupt;
  Report report;
  report.model_path = options.model_path;
  const auto start = Clock::now();
  const auto model = open_model(options, interrupt);
  if (!model.ok()) return fail(model.status());
  report.timings.load = Clock::now() - start;

  auto prompt = encode_prompt(options, model->tokenizer());
  if (!prompt.ok()) return fail(prompt.status());
  report.prompt_tokens = *std::move(prompt);

  inlay::SessionOptions session_options;
  session_options.context_length = options.context_length;
  session_options.sampling = options.sampling;
  auto session = inlay::Session::create(*model, session_options);
  if (!session.ok()) return fail(session.status());
  interrupt.watch(&*session);
  const auto generated = generate(options, *session, report);
  interrupt.watch(nullptr);
  if (!generated.ok()) return fail(generated.status());

  if (options.print_json) std::fprintf(stdout, "%s\n", to_json(report, *model).c_str());
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return fail({inlay::StatusCode::kIoError, "standard output: cannot be written"});
  }
  std::fprintf(stderr, "%s\n", closing_line(report, *model).c_str());
  return report.generation.finish_reason == inlay::FinishReason::kCancelled ? kExitInterrupted : 0;
}

}  // namespace
}  // namespace inlay_run

int main(int argc, char** argv) {
  try {
    const auto options = inlay_run::parse_options(argc, argv);
    if (const int* exit_status = std::get_if<int>(&options)) return *exit_status;
    return inlay_run::run(std::get<inlay_run::Options>(options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "inlay-run: %s\n", error.what());
    return inlay_run::kExitFailure;
  }
}
