#include "fidelity/engine.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/system.hpp"
#include "cpu/cpu_isa.hpp"
#include "runtime/registry.hpp"

namespace inlay::test {
namespace {

constexpr std::size_t kRows = 256;

}  // namespace

std::vector<float> cpu_logits(const Plan& plan, std::span<const TokenId> tokens, std::size_t first, const Way& way) {
  const ExecutorOptions options{
      .threads = available_cores(), .batch_rows = static_cast<int>(kRows), .cpu_isa = way.isa};
  auto executor = find_backend(DeviceKind::kCpu)->load(plan, options);
  REQUIRE_MESSAGE(executor.ok(), executor.status().message());
  std::vector<PageId> pages((tokens.size() + kKvPagePositions - 1) / kKvPagePositions);
  std::iota(pages.begin(), pages.end(), 0);
  REQUIRE((*executor)->reserve_pages(static_cast<int>(pages.size())).ok());

  const auto vocab_size = static_cast<std::size_t>(plan.spec.vocab_size);
  std::vector<float> logits((tokens.size() - first) * vocab_size);
  const std::span<const PageId> table = pages;
  for (std::size_t begin = 0; begin < tokens.size(); begin += kRows) {
    std::vector<Row> rows;
    std::vector<float*> targets;
    for (std::size_t i = begin; i < std::min(begin + kRows, tokens.size()); ++i) {
      const bool wanted = i >= first;
      rows.push_back({tokens[i], static_cast<std::int32_t>(i), 0, wanted ? Want::kLogits : Want::kKvOnly,
                      wanted ? way.kind : RowKind::kBulk});
      if (wanted) targets.push_back(logits.data() + (i - first) * vocab_size);
    }
    REQUIRE((*executor)->forward({rows, {&table, 1}}, {targets}).ok());
  }
  return logits;
}

std::vector<Way> usable_ways() {
  std::vector<Way> ways;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    ways.push_back({table->name, RowKind::kSingle});
    if (table->round_bulk != nullptr) ways.push_back({table->name, RowKind::kBulk});
  }
  return ways;
}

std::vector<double> log_softmax(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double total = 0.0;
  for (const float logit : logits) total += std::exp(logit - highest);
  std::vector<double> result(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) result[i] = logits[i] - highest - std::log(total);
  return result;
}

double kl_divergence(std::span<const float> reference, std::span<const float> found) {
  const std::vector<double> p = log_softmax(reference);
  const std::vector<double> q = log_softmax(found);
  double sum = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
  return sum;
}

std::size_t argmax(std::span<const float> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace inlay::test
