#include "support/choosing_executor.hpp"

#include <algorithm>
#include <cstring>

#include "base/split_mix.hpp"
#include "runtime/sampler.hpp"

namespace inlay::test {
namespace {

Status failure() { return {StatusCode::kDeviceError, "made to fail"}; }

}  // namespace

void ChoosingExecutor::must(bool holds, const char* what) {
  if (!holds && violation_.empty()) violation_ = what;
}

std::uint64_t ChoosingExecutor::evaluate(std::span<const PageId> table, TokenId token, std::int32_t position) {
  must(token >= 0 && token < vocab_size_, "a token outside the vocabulary");
  must(position / kKvPagePositions < static_cast<int>(table.size()), "a position without a page");
  const auto at = [&](int i) -> TokenId& {
    const PageId page = table[static_cast<std::size_t>(i / kKvPagePositions)];
    return pages_[static_cast<std::size_t>(page)][static_cast<std::size_t>(i % kKvPagePositions)];
  };
  at(position) = token;
  std::uint64_t hash = 0;
  for (int i = 0; i <= position; ++i) hash = (hash ^ static_cast<std::uint64_t>(at(i) + 1)) * 0x100000001B3;
  return hash;
}

void ChoosingExecutor::write_logits(std::uint64_t hash, float* logits) const {
  for (int i = 0; i < vocab_size_; ++i) {
    logits[i] = static_cast<float>(8.0 * split_mix_uniform(hash += kSplitMixStep));
  }
}

Result<void> ChoosingExecutor::forward(const RowBatch& batch, const StepOutput& output) {
  if (fails()) return failure();
  ++n_forward_;
  latest_ = 0;
  std::size_t n_logits = 0;
  for (const Row& row : batch.rows) {
    const std::uint64_t hash =
        evaluate(batch.page_tables[static_cast<std::size_t>(row.sequence)], row.token, row.position);
    if (row.want == Want::kLogits) write_logits(hash, output.logits[n_logits++]);
  }
  return {};
}

void ChoosingExecutor::check_follows(const RowBatch& batch) {
  must(latest_ != 0, "a pass that follows none");
  must(batch.rows.size() == n_rows_, "a pass that follows one of other rows");
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    must(batch.rows[i].token == kChosenBefore, "a row with a token beside one without");
    must(batch.rows[i].position == rows_[i].position, "a position that does not follow");
  }
}

Result<PassId> ChoosingExecutor::start(const RowBatch& batch, std::span<const Choice> choices) {
  if (fails()) return failure();
  const std::size_t n = batch.rows.size();
  must(n <= rows_.size() && n == choices.size() && n == batch.page_tables.size(), "rows, choices and sequences");
  const bool follows = batch.rows.front().token == kChosenBefore;
  if (follows) check_follows(batch);
  n_rows_ = n;
  latest_ = ++n_started_;
  std::vector<float> logits(static_cast<std::size_t>(vocab_size_));
  for (std::size_t i = 0; i < n; ++i) {
    const Row& row = batch.rows[i];
    must(row.want == Want::kLogits && row.sequence == static_cast<int>(i), "a row that wants no token of its own");
    if (!follows) rows_[i] = {row.token, row.position, choices[i].random};
    write_logits(evaluate(batch.page_tables[i], rows_[i].token, rows_[i].position), logits.data());
    Sampler sampler(choices[i].sampling, vocab_size_);
    must(!sampler.penalises(), "penalties on the device");
    sampler.set_random(RandomStream(rows_[i].random));
    const TokenId token = sampler.sample(logits, {});
    rows_[i] = {token, rows_[i].position + 1, sampler.random().state()};
    tokens_[latest_ % tokens_.size()][i] = token;
  }
  return latest_;
}

Result<void> ChoosingExecutor::chosen(PassId pass, std::span<TokenId> tokens) {
  if (fails()) return failure();
  must(pass != 0 && pass <= n_started_ && n_started_ - pass < tokens_.size(), "a pass that is forgotten");
  std::copy_n(tokens_[pass % tokens_.size()].begin(), tokens.size(), tokens.begin());
  return {};
}

Result<void> ChoosingExecutor::reserve_pages(int n_pages) {
  Page unwritten;
  unwritten.fill(-1);
  pages_.resize(static_cast<std::size_t>(n_pages), unwritten);
  return {};
}

Result<void> ChoosingExecutor::copy_page(PageId from, PageId to) {
  if (fails()) return failure();
  pages_[static_cast<std::size_t>(to)] = pages_[static_cast<std::size_t>(from)];
  return {};
}

Result<void> ChoosingExecutor::read_page(PageId page, std::byte* out) {
  std::memcpy(out, &pages_[static_cast<std::size_t>(page)], sizeof(Page));
  return {};
}

Result<void> ChoosingExecutor::write_page(PageId page, const std::byte* bytes) {
  std::memcpy(&pages_[static_cast<std::size_t>(page)], bytes, sizeof(Page));
  return {};
}

}  // namespace inlay::test
