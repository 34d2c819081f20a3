// Logits of the library's executors, for comparison with references.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/backend.hpp"

namespace inlay::test {

/// Logits after each of the tokens from `first` on, [n_tokens - first, vocab_size], from passes of up to 256 rows on
/// the CPU with that kernel table ("": the best one).
std::vector<float> cpu_logits(const Plan& plan, std::span<const TokenId> tokens, std::size_t first,
                              const std::string& isa = "");

/// The kernel tables that this machine can run.
std::vector<std::string> usable_isas();

/// log softmax of one row, in double.
std::vector<double> log_softmax(std::span<const float> logits);

/// KL(reference || found) in nats, of two rows of logits.
double kl_divergence(std::span<const float> reference, std::span<const float> found);

/// The index of the highest value.
std::size_t argmax(std::span<const float> values);

}  // namespace inlay::test
