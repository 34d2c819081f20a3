#include "options.hpp"

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <string>

namespace inlay_run {
namespace {

void add_sampling_options(CLI::App& app, inlay::SamplingOptions& sampling) {
  const char* group = "Sampling";
  app.add_option("--temperature", sampling.temperature, "0: greedy; higher: more varied")
      ->capture_default_str()
      ->group(group);
  app.add_option("--top-k", sampling.top_k, "Keep the k most likely tokens; 0: all")
      ->capture_default_str()
      ->group(group);
  app.add_option("--top-p", sampling.top_p, "Keep the smallest set whose probability reaches p")
      ->capture_default_str()
      ->group(group);
  app.add_option("--min-p", sampling.min_p, "Drop tokens less likely than this share of the most likely one")
      ->capture_default_str()
      ->group(group);
  app.add_option("--repetition-penalty", sampling.repetition_penalty, "Above 1: recent tokens become less likely")
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", sampling.seed, "Of the random stream: the same seed gives the same text")
      ->capture_default_str()
      ->group(group);
}

void add_options(CLI::App& app, Options& options) {
  app.set_version_flag("--version", std::string("inlay-run ") + inlay::version_string());
  app.add_option("-m,--model", options.model_path, "The GGUF file")->required()->type_name("FILE");
  auto* prompt = app.add_option("-p,--prompt", options.prompt, "The text to continue; empty: from nothing");
  app.add_option("-f,--file", options.prompt_path, "Read the prompt from a file; -: from standard input")
      ->type_name("FILE")
      ->excludes(prompt);
  app.add_flag("--special", options.parse_special, "Read <|im_start|> and the like in the prompt as special tokens");
  app.add_option("-n,--max-tokens", options.max_tokens, "Most tokens to generate")->capture_default_str();
  app.add_option("-c,--ctx", options.context_length, "Most tokens of prompt and answer; 0: what the model can")
      ->capture_default_str();
  app.add_option("-t,--threads", options.threads, "CPU threads; 0: one per core")->capture_default_str();
  app.add_option("--isa", options.cpu_isa, "CPU kernels to use instead of the best: generic, avx2, avx512, amx");
  const std::map<std::string, inlay::KvFormat> kv_formats = {{"f16", inlay::KvFormat::kF16},
                                                             {"q8_0", inlay::KvFormat::kQ8_0}};
  app.add_option("--kv", options.kv_format, "How past keys and values are kept: f16, or q8_0 in half the memory")
      ->transform(CLI::CheckedTransformer(kv_formats))
      ->option_text("f16|q8_0 [f16]");
  app.add_flag("--gpu", options.use_gpu, "Run on a CUDA GPU; the CPU if there is none");
  app.add_flag("--json", options.print_json, "Print one JSON object instead of the text");
  add_sampling_options(app, options.sampling);
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  CLI::App app("Generates text from a GGUF model.", "inlay-run");
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& message) {  // help or version
    return app.exit(message);
  } catch (const CLI::ParseError& error) {
    std::cerr << "inlay-run: " << error.what() << " (--help lists the options)\n";
    return kExitUsage;
  }
  return options;
}

}  // namespace inlay_run
