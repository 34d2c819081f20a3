#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "gguf/writer.hpp"
#include "model/plan.hpp"
#include "support/opened_plan.hpp"
#include "support/tiny_model.hpp"

namespace {

using namespace inlay;
using test::TinyModelOptions;

Result<Plan> try_plan(const std::vector<std::byte>& bytes) {
  auto file = gguf::File::parse(bytes);
  if (!file.ok()) return file.status();
  return make_plan(*file);
}

/// A copy of a tiny model in which one metadata value is another, or gone.
enum class Change { kRemove, kUint32, kFloat32, kString };
std::vector<std::byte> changed_metadata(const std::string& key, Change change, double number = 0,
                                        const std::string& text = "") {
  const std::vector<std::byte> original = test::make_tiny_model({.rope_scaling_type = "yarn"});
  const auto file = gguf::File::parse(original);
  REQUIRE(file.ok());
  gguf::Writer writer;
  for (const auto& [name, value] : file->metadata()) {
    if (name != key) writer.add(name, value);
  }
  if (change == Change::kUint32) writer.add_uint32(key, static_cast<std::uint32_t>(number));
  if (change == Change::kFloat32) writer.add_float32(key, static_cast<float>(number));
  if (change == Change::kString) writer.add_string(key, text);
  for (const gguf::Tensor& tensor : file->tensors()) {
    const std::span dims(tensor.dims.data(), static_cast<std::size_t>(tensor.n_dims));
    writer.add_tensor(tensor.name, tensor.format, dims, {tensor.data.begin(), tensor.data.end()});
  }
  return writer.finish();
}

/// A copy of a tiny model without one tensor, or with that tensor in another shape.
std::vector<std::byte> changed_tensor(const std::string& name, std::vector<std::uint64_t> dims) {
  const std::vector<std::byte> original = test::make_tiny_model({});
  const auto file = gguf::File::parse(original);
  REQUIRE(file.ok());
  gguf::Writer writer;
  for (const auto& [key, value] : file->metadata()) writer.add(key, value);
  for (const gguf::Tensor& tensor : file->tensors()) {
    if (tensor.name != name) {
      const std::span same(tensor.dims.data(), static_cast<std::size_t>(tensor.n_dims));
      writer.add_tensor(tensor.name, tensor.format, same, {tensor.data.begin(), tensor.data.end()});
    } else if (!dims.empty()) {
      std::size_t bytes = 4;
      for (const std::uint64_t dim : dims) bytes *= dim;
      writer.add_tensor(name, Format::kF32, dims, std::vector<std::byte>(bytes));
    }
  }
  return writer.finish();
}

TEST_CASE("a plan has five steps a layer between the embedding and the head") {
  const auto opened = test::open_plan(test::make_tiny_model({.layers = 3}));
  const Plan& plan = opened.plan;
  REQUIRE(plan.steps.size() == 2 + 3 * 5);
  CHECK(plan.steps.front().kind == StepKind::kEmbed);
  CHECK(plan.steps.back().kind == StepKind::kHead);
  const std::vector<StepKind> layer = {StepKind::kQkv, StepKind::kAttend, StepKind::kProject, StepKind::kFeedForward,
                                       StepKind::kDown};
  for (int i = 0; i < 15; ++i) {
    const Step& step = plan.steps[static_cast<std::size_t>(i + 1)];
    CHECK(step.kind == layer[static_cast<std::size_t>(i % 5)]);
    CHECK(step.layer == i / 5);
    CHECK(step.bias == kNoTensor);
  }
  const Step& qkv = plan.steps[6];
  CHECK(plan.tensors.matrix(qkv.matrix).name == "blk.1.attn_q.weight");
  CHECK(plan.tensors.matrix(qkv.third).name == "blk.1.attn_v.weight");
}

TEST_CASE("a spec holds the file's numbers") {
  const auto opened = test::open_plan(test::make_tiny_model({.layers = 2,
                                                             .embedding_length = 96,
                                                             .n_heads = 6,
                                                             .n_kv_heads = 3,
                                                             .head_size = 24,
                                                             .feed_forward_length = 160}));
  const ModelSpec& spec = opened.plan.spec;
  CHECK(spec.arch->name == "llama");
  CHECK(spec.n_layers == 2);
  CHECK(spec.embedding_length == 96);
  CHECK(spec.head_size == 24);
  CHECK(spec.query_length() == 144);
  CHECK(spec.kv_length() == 72);
  CHECK(spec.group() == 2);
  CHECK(spec.feed_forward_length == 160);
  CHECK(spec.vocab_size == 320);
  CHECK(spec.context_length == 256);
  CHECK(spec.rope.n_pairs == 12);
  CHECK(spec.norm_epsilon == 1e-5F);
}

TEST_CASE("a file without a head ties it to the embedding, and biases are found when they are there") {
  const auto tied = test::open_plan(test::make_tiny_model({.head = test::TinyHead::kTied}));
  CHECK(tied.plan.steps.back().matrix == tied.plan.steps.front().matrix);
  const auto own = test::open_plan(test::make_tiny_model({.attention_biases = true, .feed_forward_biases = true}));
  CHECK(own.plan.steps.back().matrix != own.plan.steps.front().matrix);
  CHECK(own.plan.steps[1].bias != kNoTensor);
  CHECK(own.plan.steps[1].third_bias != kNoTensor);
  CHECK(own.plan.steps[4].second_bias != kNoTensor);
}

TEST_CASE("what a file lacks or gets wrong is refused by name") {
  const auto refused = [](const std::vector<std::byte>& bytes, StatusCode code, const std::string& named) {
    const auto plan = try_plan(bytes);
    CHECK_MESSAGE(plan.code() == code, named << ": " << plan.status().message());
    CHECK_MESSAGE(plan.status().message().find(named) != std::string::npos, plan.status().message());
  };
  const StatusCode invalid = StatusCode::kInvalidModel;
  const StatusCode unsupported = StatusCode::kUnsupported;
  refused(changed_metadata("general.architecture", Change::kRemove), invalid, "general.architecture");
  refused(changed_metadata("general.architecture", Change::kString, 0, "gpt9"), unsupported, "gpt9");
  refused(changed_metadata("general.architecture", Change::kUint32, 3), invalid, "general.architecture");
  for (const char* key :
       {"block_count", "embedding_length", "feed_forward_length", "context_length", "attention.head_count"}) {
    const std::string name = std::string("llama.") + key;
    refused(changed_metadata(name, Change::kRemove), invalid, name);
    refused(changed_metadata(name, Change::kUint32, 0), invalid, name);
    refused(changed_metadata(name, Change::kUint32, 4294967295.0), invalid, name);
    refused(changed_metadata(name, Change::kString, 0, "64"), invalid, name);
  }
  refused(changed_metadata("llama.attention.head_count_kv", Change::kUint32, 3), invalid, "head_count_kv");
  refused(changed_metadata("llama.attention.head_count_kv", Change::kUint32, 0), invalid, "head_count_kv");
  refused(changed_metadata("llama.attention.layer_norm_rms_epsilon", Change::kRemove), invalid, "epsilon");
  refused(changed_metadata("llama.attention.layer_norm_rms_epsilon", Change::kFloat32, NAN), invalid, "epsilon");
  refused(changed_metadata("llama.attention.value_length", Change::kUint32, 8), unsupported, "value_length");
  refused(changed_metadata("llama.rope.dimension_count", Change::kUint32, 17), invalid, "dimension_count");
  refused(changed_metadata("llama.rope.dimension_count", Change::kUint32, 15), invalid, "dimension_count");
  refused(changed_metadata("llama.rope.freq_base", Change::kFloat32, -1), invalid, "freq_base");
  refused(changed_metadata("llama.rope.scaling.type", Change::kString, 0, "longrope"), unsupported, "longrope");
  refused(changed_metadata("llama.rope.scaling.factor", Change::kFloat32, 0), invalid, "scaling.factor");
  refused(changed_metadata("llama.expert_count", Change::kUint32, 8), unsupported, "expert_count");
}

TEST_CASE("a missing tensor or one of another shape is refused by name") {
  int checked = 0;
  for (const char* name :
       {"token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_norm.weight", "blk.1.attn_q.weight",
        "blk.1.attn_k.weight", "blk.0.attn_v.weight", "blk.1.attn_output.weight", "blk.0.ffn_norm.weight",
        "blk.0.ffn_gate.weight", "blk.1.ffn_up.weight", "blk.1.ffn_down.weight"}) {
    const auto wrong = try_plan(changed_tensor(name, {32, 3}));
    CHECK(wrong.code() == StatusCode::kInvalidModel);
    CHECK(wrong.status().message().find("expected [") != std::string::npos);
    if (std::string(name) != "output.weight") {  // without it the head is tied
      const auto missing = try_plan(changed_tensor(name, {}));
      CHECK(missing.code() == StatusCode::kInvalidModel);
      CHECK(missing.status().message().find(std::string("\"") + name + "\": is missing") != std::string::npos);
    }
    ++checked;
  }
  MESSAGE("checked " << checked << " tensors");
}

}  // namespace
