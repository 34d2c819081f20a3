// inlay-quantize: makes a smaller GGUF file from a GGUF file.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>
#include <variant>

#include <inlay/inlay.hpp>

namespace {

constexpr int kExitFailure = 1;        // the library or the operating system said no
constexpr int kExitUsage = 2;          // the command line makes no sense
constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells count

struct Options {
  std::string in_path;
  std::string out_path;
  std::string type;
  std::int32_t threads = 0;
};

std::string type_help() {
  std::string text = "What to make:";
  for (const char* type : inlay::quantize_types()) text += std::string(" ") + type;
  return text;
}

/// The options, or the exit status after help, the version or a usage error has been printed.
std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  CLI::App app("Makes a smaller GGUF file from a GGUF file.", "inlay-quantize");
  app.set_version_flag("--version", std::string("inlay-quantize ") + inlay::version_string());
  app.add_option("IN", options.in_path, "The GGUF file to read")->required()->type_name("FILE");
  app.add_option("OUT", options.out_path, "The GGUF file to write; replaced when all is done")
      ->required()
      ->type_name("FILE");
  app.add_option("TYPE", options.type, type_help())->required()->type_name("");
  app.add_option("-t,--threads", options.threads, "CPU threads; 0: one per core")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& message) {  // help or version
    return app.exit(message);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "inlay-quantize: %s (--help lists the options)\n", error.what());
    return kExitUsage;
  }
  return options;
}

volatile std::sig_atomic_t interrupted = 0;

/// A bar on a terminal, and nothing elsewhere.
class ProgressBar {
 public:
  void show(float fraction) {
    constexpr int kWidth = 40;
    const int percent = static_cast<int>(fraction * 100.0F);
    if (!terminal_ || percent == percent_) return;
    percent_ = percent;
    const std::string done(static_cast<std::size_t>(percent * kWidth / 100), '#');
    std::fprintf(stderr, "\r[%-*s] %3d%%", kWidth, done.c_str(), percent);
  }
  void clear() const {
    if (percent_ >= 0) std::fputs("\r\033[K", stderr);
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1;
  int percent_ = -1;
};

double megabytes(const std::string& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  return error ? 0.0 : static_cast<double>(bytes) / 1e6;
}

int run(const Options& options) {
  std::signal(SIGINT, [](int /*signal*/) { interrupted = 1; });  // the half-written file is removed on the way out
  const double source_size = megabytes(options.in_path);         // OUT may be the same file
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar;
  inlay::QuantizeOptions quantize_options;
  quantize_options.type = options.type;
  quantize_options.threads = options.threads;
  quantize_options.progress = [&bar](float fraction) {
    bar.show(fraction);
    return interrupted != 0 ? inlay::Flow::kStop : inlay::Flow::kContinue;
  };
  const auto done = inlay::quantize(options.in_path, options.out_path, quantize_options);
  bar.clear();
  if (!done.ok()) {
    const std::string& message = done.status().message();
    std::fprintf(stderr, "inlay-quantize: %s\n", message.empty() ? inlay::to_string(done.code()) : message.c_str());
    return done.code() == inlay::StatusCode::kCancelled ? kExitInterrupted : kExitFailure;
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  std::fprintf(stderr, "inlay-quantize: %s, %.1f MB from %.1f MB in %.1f s\n", options.type.c_str(),
               megabytes(options.out_path), source_size, time.count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto options = parse_options(argc, argv);
    if (const int* exit_status = std::get_if<int>(&options)) return *exit_status;
    return run(std::get<Options>(options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "inlay-quantize: %s\n", error.what());
    return kExitFailure;
  }
}
