// A device that chooses tokens, without arithmetic: the logits of a row are a hash of all tokens of its sequence up to
// its own, read from the pages. What is done wrong with pages, passes or random streams changes tokens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/kv_page.hpp"
#include "runtime/backend.hpp"

namespace inlay::test {

class ChoosingExecutor final : public Executor {
 public:
  enum class Chooser : std::uint8_t { kHost, kDevice };

  ChoosingExecutor(int vocab_size, Chooser chooser) : vocab_size_(vocab_size), chooser_(chooser) {}

  Result<void> forward(const RowBatch& batch, const StepOutput& output) override;
  [[nodiscard]] bool chooses_tokens() const override { return chooser_ == Chooser::kDevice; }
  Result<PassId> start(const RowBatch& batch, std::span<const Choice> choices) override;
  Result<void> chosen(PassId pass, std::span<TokenId> tokens) override;
  [[nodiscard]] PassId latest_pass() const override { return latest_; }
  Result<void> reserve_pages(int n_pages) override;
  Result<void> copy_page(PageId from, PageId to) override;
  [[nodiscard]] PageLayout page_layout() const override { return PageLayout::kCuda; }
  [[nodiscard]] std::size_t page_bytes() const override { return sizeof(Page); }
  Result<void> read_page(PageId page, std::byte* out) override;
  Result<void> write_page(PageId page, const std::byte* bytes) override;
  void discard_page(PageId /*page*/) override {}

  /// The call after n others fails, once; of those that can.
  void fail_after(int n) { calls_until_failure_ = n; }
  [[nodiscard]] int n_forward() const { return n_forward_; }
  [[nodiscard]] int n_started() const { return static_cast<int>(n_started_); }
  /// What the runtime did that no device could make sense of; empty if nothing.
  [[nodiscard]] const std::string& violation() const { return violation_; }

 private:
  using Page = std::array<TokenId, kKvPagePositions>;

  /// A row of the latest pass that was started, as the device knows it then.
  struct Chosen {
    TokenId token = 0;
    std::int32_t position = 0;
    std::uint64_t random = 0;
  };

  [[nodiscard]] bool fails() { return calls_until_failure_ >= 0 && calls_until_failure_-- == 0; }
  void must(bool holds, const char* what);
  /// Writes the token to its page and returns the hash of the sequence.
  std::uint64_t evaluate(std::span<const PageId> table, TokenId token, std::int32_t position);
  void write_logits(std::uint64_t hash, float* logits) const;
  void check_follows(const RowBatch& batch);

  int vocab_size_;
  Chooser chooser_;
  std::vector<Page> pages_;
  std::array<Chosen, kMostChoices> rows_{};
  std::size_t n_rows_ = 0;
  PassId n_started_ = 0;
  PassId latest_ = 0;
  std::array<std::array<TokenId, kMostChoices>, 8> tokens_{};  // of the latest passes
  int n_forward_ = 0;
  int calls_until_failure_ = -1;
  std::string violation_;
};

}  // namespace inlay::test
