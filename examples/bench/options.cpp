#include "options.hpp"

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>

namespace inlay_bench {
namespace {

constexpr std::int32_t kMostTokens = 1 << 20;
constexpr std::int32_t kMostSequences = 1024;
constexpr std::int32_t kMostThreads = 1024;  // as ModelOptions::threads

constexpr const char* kDescription =
    "inlay-bench - measures how fast a GGUF model prefills and decodes\n\n"
    "Every combination of -p and -n with -d, -t and -b is measured: once to warm up, then -r times.\n"
    "Options marked N,... take several numbers with commas between them.";

constexpr const char* kFooter =
    "\nFigures:\n"
    "  tok/s     tokens of all sequences in a second: the median, and the least and the most of the repetitions\n"
    "  GB/s      decode: (weights + sequences * KV bytes of a position * (depth + (tokens + 1) / 2)) * tok/s / "
    "sequences;\n"
    "            weights are the bytes that one token reads: the file's tensors without the embedding table, of which\n"
    "            it needs one row, unless the table is the output matrix too\n"
    "  share     GB/s divided by the read bandwidth of as many threads, measured before and after (the best counts) "
    "by\n"
    "            summing a buffer of four times the last-level cache\n"
    "  GOP/s     prefill: 2 * (parameters of all layers + parameters of the output matrix / tokens) * tok/s;\n"
    "            attention scores are not counted\n"
    "\nProfile: each step of the pass that decodes one token, timed on the device while no other runs; medians.\n"
    "-p, -n, -b, -r have no say.\n"
    "  step      embed; of every layer qkv, attend, project, gate+up, down; head; choose (of the token)\n"
    "  us each   of one step, its start included; us, MB: of all steps of the kind\n"
    "  MB        weights and KV cache that the steps read, as they lie on the device\n"
    "  share     GB/s divided by the peak of the device's memory, from its clock and the width of its bus\n"
    "  captured pass  the whole as it is really run, where steps overlap: less than all steps one by one\n"
    "\nA decoded token is a whole step: forward pass and greedy choice. The tokens of the prompt are random.\n"
    "\nExamples:\n"
    "  inlay-bench -m model.gguf\n"
    "  inlay-bench -m model.gguf -p 32,128,512 -n 64 -d 0,1024 -t 1,2\n"
    "  inlay-bench -m model.gguf -p 0 -n 64 -b 1,4,16 -o json\n"
    "  inlay-bench -m model.gguf -p 0 -n 0 -t 1,2          the read bandwidth alone\n"
    "  inlay-bench -m model.gguf --device cuda --profile -d 0,1024\n"
    "\nExit status: 0, 1 for a failure, 2 for a command line that makes no sense.";

void add_list(CLI::App& app, const char* name, std::vector<std::int32_t>& values, CLI::Validator range,
              const char* help) {
  app.add_option(name, values, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(range.description(""))
      ->type_name("N,...")
      ->capture_default_str();
}

/// Turns a name into its value; the message of a bad name lists the good ones.
template <class T>
CLI::Validator one_of(const std::map<std::string, T>& values) {
  const auto convert = [&values](std::string& text) -> std::string {
    const auto found = values.find(text);
    if (found != values.end()) {
      text = std::to_string(static_cast<std::int32_t>(found->second));
      return {};
    }
    std::string names;
    for (const auto& [name, value] : values) names += (names.empty() ? "" : " or ") + name;
    return "expected " + names + ", found \"" + text + "\"";
  };
  return CLI::Validator(convert, "");
}

void add_options(CLI::App& app, Options& options) {
  static const std::map<std::string, inlay::DeviceKind> kDevices = {{"cpu", inlay::DeviceKind::kCpu},
                                                                    {"cuda", inlay::DeviceKind::kCuda}};
  static const std::map<std::string, OutputFormat> kFormats = {{"md", OutputFormat::kMarkdown},
                                                               {"json", OutputFormat::kJson}};
  app.set_version_flag("--version", std::string("inlay-bench ") + inlay::version_string());
  app.add_option("-m,--model", options.model_path, "The GGUF file")->required()->type_name("FILE");
  add_list(app, "-p,--prefill", options.prefill_tokens, CLI::Range(0, kMostTokens),
           "Tokens to prefill at once; 0: none");
  add_list(app, "-n,--decode", options.decode_tokens, CLI::Range(0, kMostTokens),
           "Tokens to decode one by one; 0: none");
  add_list(app, "-d,--depth", options.depths, CLI::Range(0, kMostTokens), "Tokens that are in the KV cache before");
  add_list(app, "-t,--threads", options.threads, CLI::Range(0, kMostThreads), "CPU threads; 0: one per core");
  add_list(app, "-b,--batch", options.sequences, CLI::Range(1, kMostSequences), "Sequences evaluated together");
  app.add_option("-r,--repetitions", options.repetitions, "How often each is measured")
      ->check(CLI::Range(1, 1000).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag_callback(
      "--profile", [&options] { options.mode = Mode::kProfile; },
      "Time the steps of a forward pass instead, behind the tokens of -d");
  app.add_option("--device", options.device, "Where to run: cpu or cuda")
      ->transform(one_of(kDevices))
      ->type_name("NAME")
      ->default_str("cpu");
  app.add_option("--isa", options.cpu_isa, "CPU kernels to use instead of the best: generic, avx2, avx512, amx")
      ->type_name("NAME");
  app.add_option("-o,--output", options.output, "A Markdown table or JSON: md or json")
      ->transform(one_of(kFormats))
      ->type_name("FORMAT")
      ->default_str("md");
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  CLI::App app(kDescription, "inlay-bench");
  app.footer(kFooter);
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& message) {  // help or version
    return app.exit(message);
  } catch (const CLI::ParseError& error) {
    std::cerr << "inlay-bench: " << error.what() << " (--help lists the options)\n";
    return kExitUsage;
  }
  return options;
}

}  // namespace inlay_bench
