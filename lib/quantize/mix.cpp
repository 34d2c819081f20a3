#include "quantize/mix.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

#include <inlay/quantize.hpp>

namespace inlay {
namespace {

constexpr FormatChoice only(Format format) { return {format, format, BiggerWhen::kNever}; }

/// One format everywhere, but perhaps for the output.
constexpr Mix plain(const char* name, std::uint32_t file_type, Format format, Format output) {
  return {name, file_type, format, output, only(format), only(format), only(format), only(format)};
}

constexpr Format kF32 = Format::kF32;
constexpr Format kF16 = Format::kF16;
constexpr Format kBF16 = Format::kBF16;
constexpr Format kQ8 = Format::kQ8_0;
constexpr Format kQ2 = Format::kQ2_K;
constexpr Format kQ3 = Format::kQ3_K;
constexpr Format kQ4 = Format::kQ4_K;
constexpr Format kQ5 = Format::kQ5_K;
constexpr Format kQ6 = Format::kQ6_K;
using When = BiggerWhen;

// The columns after the output: value, attention_output, down, qkv.
constexpr std::array kMixes = {
    plain("F32", 0, kF32, kF32),
    plain("F16", 1, kF16, kF16),
    plain("BF16", 32, kBF16, kBF16),
    plain("Q8_0", 7, kQ8, kQ8),
    plain("Q6_K", 18, kQ6, kQ6),
    plain("Q5_1", 9, Format::kQ5_1, kQ6),
    Mix{"Q5_K_M", 17, kQ5, kQ6, {kQ5, kQ6, When::kMoreBits}, only(kQ5), {kQ5, kQ6, When::kMoreBits}, only(kQ6)},
    plain("Q5_K_S", 16, kQ5, kQ6),
    plain("Q5_0", 8, Format::kQ5_0, kQ6),
    plain("Q4_1", 3, Format::kQ4_1, kQ6),
    Mix{"Q4_K_M", 15, kQ4, kQ6, {kQ4, kQ6, When::kMoreBits}, only(kQ4), {kQ4, kQ6, When::kMoreBits}, only(kQ5)},
    Mix{"Q4_K_S", 14, kQ4, kQ6, {kQ4, kQ5, When::kFirstFour}, only(kQ4), {kQ4, kQ5, When::kFirstEighth}, only(kQ4)},
    plain("Q4_0", 2, Format::kQ4_0, kQ6),
    Mix{"Q3_K_L", 13, kQ3, kQ6, only(kQ5), only(kQ5), only(kQ5), only(kQ4)},
    Mix{"Q3_K_M", 12, kQ3, kQ6, {kQ4, kQ5, When::kFirstTwo}, only(kQ4), {kQ4, kQ5, When::kFirstSixteenth}, only(kQ4)},
    plain("Q3_K_S", 11, kQ3, kQ6),
    Mix{"Q2_K", 10, kQ2, kQ6, {kQ3, kQ4, When::kSharedByFour}, only(kQ3), only(kQ3), only(kQ2)},
    Mix{"Q2_K_S", 21, kQ2, kQ6, {kQ2, kQ4, When::kSharedByFour}, only(kQ2), {kQ2, kQ4, When::kFirstEighth}, only(kQ2)},
};

struct ShortName {
  std::string_view name;
  std::string_view full;
};
constexpr std::array kShortNames = {ShortName{"Q3_K", "Q3_K_M"}, ShortName{"Q4_K", "Q4_K_M"},
                                    ShortName{"Q5_K", "Q5_K_M"}};

bool is_bigger(BiggerWhen when, int layer, const MixModel& model) {
  const int n = model.n_layers;
  switch (when) {
    case BiggerWhen::kNever:
      return false;
    case BiggerWhen::kMoreBits:
      return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case BiggerWhen::kFirstEighth:
      return layer < n / 8;
    case BiggerWhen::kFirstSixteenth:
      return layer < n / 16;
    case BiggerWhen::kFirstTwo:
      return layer < 2;
    case BiggerWhen::kFirstFour:
      return layer < 4;
    case BiggerWhen::kSharedByFour:
      return model.heads_per_kv_head >= 4;
  }
  return false;
}

/// A format with small blocks for rows that are no whole number of super blocks. Q2_K and Q3_K have no neighbour of
/// their size that inlay reads.
Format with_small_blocks(Format format) {
  switch (format) {
    case Format::kQ2_K:
    case Format::kQ3_K:
      return Format::kQ4_0;
    case Format::kQ4_K:
      return Format::kQ5_0;
    case Format::kQ5_K:
      return Format::kQ5_1;
    case Format::kQ6_K:
      return Format::kQ8_0;
    default:
      return format;
  }
}

bool fits(Format format, std::uint64_t row_weights) {
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): every format of the table is known
  return row_weights % static_cast<std::uint64_t>(format_info(format).block_weights) == 0;
}

struct LayerTensor {
  int layer = 0;
  std::string_view kind;  // "attn_v" of "blk.3.attn_v.weight"
};

LayerTensor parse(std::string_view name) {
  constexpr std::string_view kLayer = "blk.";
  constexpr std::string_view kWeight = ".weight";
  LayerTensor parsed;
  if (!name.starts_with(kLayer)) return parsed;
  const char* end = name.data() + name.size();
  const auto [after, error] = std::from_chars(name.data() + kLayer.size(), end, parsed.layer);
  if (error != std::errc() || after == end) return parsed;
  parsed.kind = std::string_view(after + 1, static_cast<std::size_t>(end - after) - 1);
  if (parsed.kind.ends_with(kWeight)) parsed.kind.remove_suffix(kWeight.size());
  return parsed;
}

bool is_output(std::string_view tensor, const MixModel& model) {
  return tensor == "output.weight" || (!model.has_output && tensor == "token_embd.weight");
}

Format wanted(const Mix& mix, const MixModel& model, std::string_view tensor) {
  if (is_output(tensor, model)) return mix.output;
  const auto [layer, kind] = parse(tensor);
  const auto pick = [&, layer = layer](const FormatChoice& choice) {
    return is_bigger(choice.when, layer, model) ? choice.bigger : choice.usual;
  };
  if (kind == "attn_v") return pick(mix.value);
  if (kind == "attn_output") return pick(mix.attention_output);
  if (kind == "ffn_down") return pick(mix.down);
  if (kind == "attn_qkv") return pick(mix.qkv);
  return mix.usual;
}

}  // namespace

std::span<const Mix> all_mixes() noexcept { return kMixes; }

std::span<const char* const> quantize_types() noexcept {
  static constexpr auto kNames = [] {
    std::array<const char*, std::size(kMixes)> names = {};
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = kMixes[i].name;
    return names;
  }();
  return kNames;
}

const Mix* find_mix(std::string_view name) noexcept {
  for (const ShortName& row : kShortNames) {
    if (row.name == name) name = row.full;
  }
  const auto* found = std::find_if(kMixes.begin(), kMixes.end(), [&](const Mix& mix) { return mix.name == name; });
  return found == kMixes.end() ? nullptr : found;
}

std::optional<Format> format_in_mix(const Mix& mix, const MixModel& model, std::string_view tensor, int n_dims,
                                    std::uint64_t row_weights) noexcept {
  if (n_dims < 2 || !tensor.ends_with("weight") || tensor.find("_norm.weight") != std::string_view::npos) {
    return std::nullopt;
  }
  const Format format = wanted(mix, model, tensor);
  if (fits(format, row_weights)) return format;
  // The output matrix of a mix of small blocks has large ones: its next better format is the one for its row.
  const Format smaller = with_small_blocks(format);
  return fits(smaller, row_weights) ? smaller : Format::kF16;
}

}  // namespace inlay
