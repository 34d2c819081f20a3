// Logits of the library's executors, for comparison with references.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/backend.hpp"

namespace inlay::test {

/// A kernel table and a kind of rows that it has arithmetic of its own for.
struct Way {
  std::string isa;
  RowKind kind = RowKind::kSingle;
  [[nodiscard]] std::string name() const { return isa + (kind == RowKind::kBulk ? ", rows in bulk" : ""); }
};

/// Those of this machine, the best table first.
std::vector<Way> usable_ways();

/// Logits after each of the tokens from `first` on, [n_tokens - first, vocab_size], from passes of up to 256 rows on
/// the CPU. The tokens before `first` are bulk rows, the others of the way's kind.
std::vector<float> cpu_logits(const Plan& plan, std::span<const TokenId> tokens, std::size_t first, const Way& way);

/// log softmax of one row, in double.
std::vector<double> log_softmax(std::span<const float> logits);

/// KL(reference || found) in nats, of two rows of logits.
double kl_divergence(std::span<const float> reference, std::span<const float> found);

/// The index of the highest value.
std::size_t argmax(std::span<const float> values);

}  // namespace inlay::test
