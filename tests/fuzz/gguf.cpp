// Any bytes as a model file: a status that names what is wrong, or a model that runs. Checks nothing of what it
// computes.
#include <array>
#include <string_view>
#include <vector>

#include "fuzz/input.hpp"
#include "gguf/gguf.hpp"
#include "model/plan.hpp"
#include "runtime/registry.hpp"
#include "runtime/sampler.hpp"
#include "tokenizer/tokenizer.hpp"

namespace {

using namespace inlay;
using fuzz::demand;

constexpr std::uint64_t kMaxModelBytes = std::uint64_t{4} << 20U;
constexpr int kPositions = 4;

void check_refusal(const Status& status) {
  demand(status.code() == StatusCode::kInvalidModel || status.code() == StatusCode::kUnsupported,
         "a bad file is an invalid model or an unsupported one");
  demand(!status.message().empty(), "a refusal says why");
}

/// Touches the bytes of every view: the sanitizer knows where the input ends.
void read_all(const gguf::File& file) {
  unsigned sum = 0;
  for (const auto& [key, value] : file.metadata()) {
    demand(file.find(key) == &value, "a key is found by its name");
    if (const auto texts = file.find_strings(key); texts.ok()) {
      for (const std::string_view text : **texts) sum += text.empty() ? 0U : static_cast<unsigned char>(text.back());
    }
    if (const auto text = file.find_string(key); text.ok() && !(*text)->empty()) sum += (*text)->back() == 'a';
    static_cast<void>(file.find_integer(key).ok() || file.find_float(key).ok() || file.find_bool(key).ok());
    static_cast<void>(file.find_floats(key).ok() || file.find_integers(key).ok());
  }
  for (const auto& tensor : file.tensors()) {
    demand(file.find_tensor(tensor.name) == &tensor, "a tensor is found by its name");
    sum += static_cast<unsigned>(tensor.data.front()) + static_cast<unsigned>(tensor.data.back());
  }
  [[maybe_unused]] static volatile unsigned sink = 0;  // the reads must happen
  sink = sum;
}

void use_tokenizer(const gguf::File& file) {
  const auto loaded = load_tokenizer(file);
  if (!loaded.ok()) return check_refusal(loaded.status());
  const Tokenizer tokenizer(*loaded);
  const auto tokens = tokenizer.encode("hello [x]<s> wor\xFFld", {AddSpecial::kYes, ParseSpecial::kYes});
  demand(tokens.ok(), "any text has tokens");
  demand(tokenizer.decode(*tokens, RenderSpecial::kYes).ok(), "tokens of a text have a text");
}

/// The variants of one model take turns, chosen by the input.
ExecutorOptions executor_options(std::size_t size, int head_size) {
  ExecutorOptions options;
  options.threads = 1;
  options.batch_rows = kPositions;
  options.cpu_isa = size % 2 == 0 ? "generic" : "";
  options.weight_layout = size % 4 < 2 ? WeightLayout::kRepacked : WeightLayout::kAsInFile;
  if (head_size % 32 == 0 && size % 8 < 4) options.kv_format = KvFormat::kQ8_0;
  return options;
}

/// Logits may be anything; what is sampled from them is a token.
void sample(const std::vector<float>& logits) {
  const auto n = static_cast<int>(logits.size());
  const std::array<TokenId, 2> history = {0, n - 1};
  for (const SamplingOptions& options :
       {SamplingOptions{}, SamplingOptions{.temperature = 0.5F, .top_k = 3, .repetition_penalty = 2.0F},
        SamplingOptions{.temperature = 1.0F, .top_p = 0.5F, .min_p = 0.1F}}) {
    const TokenId token = Sampler(options, n).sample(logits, history);
    demand(token >= 0 && token < n, "a sampled token is in the vocabulary");
  }
}

void run(const Plan& plan, std::size_t size) {
  const Backend& backend = *find_backend(DeviceKind::kCpu);
  const ExecutorOptions options = executor_options(size, plan.spec.head_size);
  const MemoryEstimate estimate = backend.estimate(plan, kPositions, options);
  for (const std::uint64_t part : {estimate.weight_bytes, estimate.activation_bytes, estimate.kv_bytes}) {
    if (part > kMaxModelBytes) return;
  }
  auto executor = backend.load(plan, options);
  demand(executor.ok(), "a planned model loads");
  demand((*executor)->reserve_pages(1).ok(), "there is memory for one page");
  const TokenId last = plan.spec.vocab_size - 1;
  const std::array<Row, kPositions - 1> prompt = {Row{0, 0, 0, Want::kKvOnly, RowKind::kBulk},
                                                  Row{last, 1, 0, Want::kKvOnly, RowKind::kBulk},
                                                  Row{last / 2, 2, 0, Want::kLogits, RowKind::kBulk}};
  const std::array<Row, 1> step = {Row{last, 3, 0, Want::kLogits, RowKind::kSingle}};
  const PageId page = 0;
  const std::span<const PageId> table(&page, 1);
  std::vector<float> logits(static_cast<std::size_t>(plan.spec.vocab_size));
  float* target = logits.data();
  for (const std::span<const Row> rows : {std::span<const Row>(prompt), std::span<const Row>(step)}) {
    demand((*executor)->forward({rows, {&table, 1}}, {{&target, 1}}).ok(), "a loaded model runs");
    sample(logits);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = gguf::File::parse(std::as_bytes(std::span(data, size)));
  if (!file.ok()) return check_refusal(file.status()), 0;
  read_all(*file);
  use_tokenizer(*file);
  const auto plan = make_plan(*file);
  if (!plan.ok()) return check_refusal(plan.status()), 0;
  run(*plan, size);
  return 0;
}
