// Runs a plan in plain float32: weights decoded, activations and KV cache never rounded. The result that every backend
// is compared with. Slow and simple.
#pragma once

#include <vector>

#include "runtime/backend.hpp"

namespace inlay::test {

class ReferenceExecutor final : public Executor {
 public:
  /// Decodes every matrix of the plan.
  explicit ReferenceExecutor(const Plan& plan);

  Result<void> forward(const RowBatch& batch, const StepOutput& output) override;
  Result<void> reserve_pages(int n_pages) override;
  Result<void> copy_page(PageId from, PageId to) override;
  void discard_page(PageId /*page*/) override {}

 private:
  using Floats = std::vector<float>;

  void embed(const Step& step, const RowBatch& batch);
  void qkv(const Step& step, const RowBatch& batch);
  void rotate(float* head, int position) const;
  void attend(const Step& step, const RowBatch& batch);
  void feed_forward(const Step& step);
  void head(const Step& step, const RowBatch& batch, const StepOutput& output);

  [[nodiscard]] Floats normalized(VectorId norm) const;
  /// input [n_rows, cols] times the matrix, plus bias: [n_rows, rows].
  [[nodiscard]] Floats linear(MatrixId matrix, VectorId bias, const Floats& input) const;
  [[nodiscard]] float* key_value(PageId page, int layer, int slot, int plane);

  const Plan& plan_;
  std::vector<Floats> matrices_;  // by MatrixId, [rows, cols]
  std::vector<Floats> pages_;     // [layer][slot][keys, values][kv_length]
  Floats x_;                      // [n_rows, E]
  Floats query_;                  // [n_rows, Q]
  Floats attention_;              // [n_rows, Q]
  Floats hidden_;                 // [n_rows, F]
};

/// Logits after each of `tokens`, [n_tokens, vocab_size], from one forward pass over all of them.
std::vector<float> reference_logits(const Plan& plan, std::span<const TokenId> tokens);

}  // namespace inlay::test
