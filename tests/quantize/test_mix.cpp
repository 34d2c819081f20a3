#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "quantize/mix.hpp"

namespace {

using inlay::Format;
using inlay::MixModel;

constexpr std::uint64_t kRow = 2048;

std::string format_name(const char* mix_name, const MixModel& model, const std::string& tensor,
                        std::uint64_t row = kRow, int n_dims = 2) {
  const inlay::Mix* mix = inlay::find_mix(mix_name);
  REQUIRE(mix != nullptr);
  const auto format = inlay::format_in_mix(*mix, model, tensor, n_dims, row);
  return format ? inlay::format_info(*format).name : "unchanged";
}

/// The layers in which a tensor has the format.
std::set<int> layers_with(const char* mix, const MixModel& model, const std::string& kind, const std::string& format) {
  std::set<int> layers;
  for (int layer = 0; layer < model.n_layers; ++layer) {
    const std::string name = "blk." + std::to_string(layer) + "." + kind + ".weight";
    if (format_name(mix, model, name) == format) layers.insert(layer);
  }
  return layers;
}

// Read off published files: TinyLlama-1.1B-Chat (22 layers) and Llama-2-7B (32 layers), Q4_K_M.
const std::set<int> kMoreBitsOf22 = {0, 1, 4, 7, 10, 13, 16, 19, 20, 21};
const std::set<int> kMoreBitsOf32 = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};

TEST_CASE("the medium mixes give values and down projections more bits in some layers") {
  const MixModel tinyllama = {22, 8, true};
  const MixModel llama2 = {32, 1, true};
  for (const char* kind : {"attn_v", "ffn_down"}) {
    CHECK(layers_with("Q4_K_M", tinyllama, kind, "Q6_K") == kMoreBitsOf22);
    CHECK(layers_with("Q4_K_M", llama2, kind, "Q6_K") == kMoreBitsOf32);
    CHECK(layers_with("Q5_K_M", llama2, kind, "Q6_K") == kMoreBitsOf32);
    CHECK(layers_with("Q4_K_M", llama2, kind, "Q4_K").size() == 16);
    CHECK(layers_with("Q5_K_M", llama2, kind, "Q5_K").size() == 16);
  }
  CHECK(layers_with("Q4_K_M", llama2, "attn_q", "Q4_K").size() == 32);
  CHECK(layers_with("Q4_K_M", llama2, "attn_output", "Q4_K").size() == 32);
  CHECK(layers_with("Q4_K_M", llama2, "ffn_up", "Q4_K").size() == 32);
}

TEST_CASE("the other mixes") {
  const MixModel model = {32, 1, true};
  const std::set<int> first_two = {0, 1};
  const std::set<int> first_four = {0, 1, 2, 3};
  CHECK(layers_with("Q4_K_S", model, "attn_v", "Q5_K") == first_four);
  CHECK(layers_with("Q4_K_S", model, "ffn_down", "Q5_K") == first_four);
  CHECK(layers_with("Q3_K_M", model, "attn_v", "Q5_K") == first_two);
  CHECK(layers_with("Q3_K_M", model, "ffn_down", "Q5_K") == first_two);
  CHECK(layers_with("Q3_K_M", model, "ffn_down", "Q4_K").size() == 30);
  CHECK(layers_with("Q3_K_M", model, "attn_output", "Q4_K").size() == 32);
  CHECK(layers_with("Q3_K_L", model, "attn_output", "Q5_K").size() == 32);
  CHECK(layers_with("Q3_K_S", model, "attn_v", "Q3_K").size() == 32);
  CHECK(layers_with("Q2_K", model, "attn_v", "Q3_K").size() == 32);
  CHECK(layers_with("Q2_K", {32, 4, true}, "attn_v", "Q4_K").size() == 32);
  CHECK(layers_with("Q2_K_S", model, "ffn_down", "Q4_K") == first_four);
  CHECK(layers_with("Q5_K_S", model, "ffn_down", "Q5_K").size() == 32);
  CHECK(layers_with("Q6_K", model, "ffn_down", "Q6_K").size() == 32);
}

TEST_CASE("output, embedding and what stays") {
  const MixModel own = {32, 1, true};
  const MixModel tied = {32, 1, false};
  const std::map<std::string, std::string> outputs = {{"F32", "F32"},   {"F16", "F16"},   {"BF16", "BF16"},
                                                      {"Q8_0", "Q8_0"}, {"Q4_0", "Q6_K"}, {"Q4_K_M", "Q6_K"},
                                                      {"Q2_K", "Q6_K"}, {"Q6_K", "Q6_K"}};
  for (const auto& [key, format] : outputs) {
    const std::string mix = key;
    CAPTURE(mix);
    CHECK(format_name(mix.c_str(), own, "output.weight") == format);
    CHECK(format_name(mix.c_str(), tied, "token_embd.weight") == format);
  }
  CHECK(format_name("Q4_K_M", own, "token_embd.weight") == "Q4_K");
  CHECK(format_name("Q2_K", own, "token_embd.weight") == "Q2_K");
  for (const char* name : {"output_norm.weight", "blk.0.attn_norm.weight", "blk.0.attn_q_norm.weight",
                           "blk.0.attn_q.bias", "rope_freqs.factors"}) {
    CHECK(format_name("Q4_K_M", own, name) == "unchanged");
  }
  CHECK(format_name("Q4_K_M", own, "rope_freqs.weight", 64, 1) == "unchanged");
}

TEST_CASE("rows that are no whole number of blocks get a format with smaller blocks") {
  const MixModel smollm2 = {30, 3, false};
  const std::string first = "blk.0.attn_v.weight";
  const std::string third = "blk.4.attn_v.weight";  // not among those with more bits
  CHECK(format_name("Q4_K_M", smollm2, first, 576) == "Q8_0");
  CHECK(format_name("Q4_K_M", smollm2, third, 576) == "Q5_0");
  CHECK(format_name("Q5_K_M", smollm2, third, 576) == "Q5_1");
  CHECK(format_name("Q3_K_S", smollm2, third, 576) == "Q4_0");
  CHECK(format_name("Q2_K_S", smollm2, third, 576) == "Q4_0");
  CHECK(format_name("Q4_0", smollm2, "token_embd.weight", 576) == "Q8_0");
  CHECK(format_name("Q4_0", smollm2, third, 576) == "Q4_0");
  CHECK(format_name("Q4_K_M", smollm2, third, 100) == "F16");
  CHECK(format_name("Q4_0", smollm2, third, 100) == "F16");
  CHECK(format_name("BF16", smollm2, third, 100) == "BF16");
}

TEST_CASE("names are found, numbered once, and odd tensor names do no harm") {
  std::set<std::uint32_t> file_types;
  for (const inlay::Mix& mix : inlay::all_mixes()) {
    CHECK(inlay::find_mix(mix.name) == &mix);
    CHECK(file_types.insert(mix.file_type).second);
    for (const char* name : {"", ".", "weight", "blk.", "blk..weight", "blk.99999999999999999999.attn_v.weight",
                             "blk.-1.ffn_down.weight", "blk.3", "blk.3weight", "blk.2147483647.attn_v.weight"}) {
      CAPTURE(name);
      for (const int n_layers : {0, 1, 1 << 20}) {
        (void)inlay::format_in_mix(mix, {n_layers, 1, true}, name, 2, kRow);
      }
    }
  }
  CHECK(inlay::find_mix("Q4_K") == inlay::find_mix("Q4_K_M"));
  CHECK(inlay::find_mix("q4_k_m") == nullptr);
  CHECK(inlay::find_mix("") == nullptr);
  MESSAGE("looked at " << file_types.size() << " mixes");
}

}  // namespace
