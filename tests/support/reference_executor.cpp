#include "support/reference_executor.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "quant/reference.hpp"

namespace inlay::test {
namespace {

std::size_t size(int value) { return static_cast<std::size_t>(value); }

/// Sixteen partial sums: the error of one long float sum would be seen in the comparison.
float dot(const float* a, const float* b, std::size_t n) {
  float sums[16] = {};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (std::size_t lane = 0; lane < 16; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  double total = 0.0;
  for (const float sum : sums) total += sum;
  for (; i < n; ++i) total += static_cast<double>(a[i]) * b[i];
  return static_cast<float>(total);
}

/// body(i) for 0 <= i < n on two threads: the reference of a real model would take minutes on one.
template <class Body>
void on_two_threads(std::size_t n, const Body& body) {
  std::thread other([&] {
    for (std::size_t i = n / 2; i < n; ++i) body(i);
  });
  for (std::size_t i = 0; i < n / 2; ++i) body(i);
  other.join();
}

float activate(Activation activation, float value) {
  switch (activation) {
    case Activation::kSilu:
      return value / (1.0F + std::exp(-value));
  }
  return NAN;
}

void add(std::vector<float>& to, const std::vector<float>& what) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += what[i];
}

}  // namespace

ReferenceExecutor::ReferenceExecutor(const Plan& plan) : plan_(plan) {
  for (const Matrix& matrix : plan.tensors.matrices()) {
    Floats values(size(matrix.rows) * size(matrix.cols));
    decode_row(matrix.format, matrix.data, values.size(), values.data());
    matrices_.push_back(std::move(values));
  }
}

Result<void> ReferenceExecutor::forward(const RowBatch& batch, const StepOutput& output) {
  for (const Step& step : plan_.steps) {
    switch (step.kind) {
      case StepKind::kEmbed:
        embed(step, batch);
        break;
      case StepKind::kQkv:
        qkv(step, batch);
        break;
      case StepKind::kAttend:
        attend(step, batch);
        break;
      case StepKind::kProject:
        add(x_, linear(step.matrix, step.bias, attention_));
        break;
      case StepKind::kFeedForward:
        feed_forward(step);
        break;
      case StepKind::kDown:
        add(x_, linear(step.matrix, step.bias, hidden_));
        break;
      case StepKind::kHead:
        head(step, batch, output);
        break;
    }
  }
  return {};
}

Result<void> ReferenceExecutor::reserve_pages(int n_pages) {
  const std::size_t floats = size(plan_.spec.n_layers) * size(kKvPagePositions) * 2 * size(plan_.spec.kv_length());
  while (pages_.size() < size(n_pages))
    pages_.emplace_back(floats, NAN);  // NaN: what was never written must not be read
  return {};
}

Result<void> ReferenceExecutor::copy_page(PageId from, PageId to) {
  pages_[size(to)] = pages_[size(from)];
  return {};
}

float* ReferenceExecutor::key_value(PageId page, int layer, int slot, int plane) {
  const std::size_t index = (size(layer) * size(kKvPagePositions) + size(slot)) * 2 + size(plane);
  return pages_[size(page)].data() + index * size(plan_.spec.kv_length());
}

ReferenceExecutor::Floats ReferenceExecutor::normalized(VectorId norm) const {
  const std::size_t length = size(plan_.spec.embedding_length);
  const float* weight = plan_.tensors.vector_data(norm);
  Floats out(x_.size());
  for (std::size_t first = 0; first < x_.size(); first += length) {
    double squares = 0.0;
    for (std::size_t i = 0; i < length; ++i) squares += static_cast<double>(x_[first + i]) * x_[first + i];
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(length) + plan_.spec.norm_epsilon);
    for (std::size_t i = 0; i < length; ++i) out[first + i] = static_cast<float>(x_[first + i] * scale) * weight[i];
  }
  return out;
}

ReferenceExecutor::Floats ReferenceExecutor::linear(MatrixId id, VectorId bias, const Floats& input) const {
  const Matrix& matrix = plan_.tensors.matrix(id);
  const std::size_t rows = size(matrix.rows);
  const std::size_t cols = size(matrix.cols);
  const std::size_t n = input.size() / cols;
  const float* weights = matrices_[size(id)].data();
  const float* offsets = plan_.tensors.vector_data(bias);
  Floats out(n * rows);
  on_two_threads(rows, [&](std::size_t r) {
    const float offset = offsets == nullptr ? 0.0F : offsets[r];
    for (std::size_t t = 0; t < n; ++t) {
      out[t * rows + r] = dot(weights + r * cols, input.data() + t * cols, cols) + offset;
    }
  });
  return out;
}

void ReferenceExecutor::embed(const Step& step, const RowBatch& batch) {
  const std::size_t length = size(plan_.spec.embedding_length);
  x_.clear();
  for (const Row& row : batch.rows) {
    const auto first = matrices_[size(step.matrix)].begin() + static_cast<std::ptrdiff_t>(size(row.token) * length);
    x_.insert(x_.end(), first, first + static_cast<std::ptrdiff_t>(length));
  }
}

void ReferenceExecutor::rotate(float* head, int position) const {
  const RopeSpec& rope = plan_.spec.rope;
  for (int i = 0; i < rope.n_pairs; ++i) {
    const double angle = position * plan_.rope.frequencies[size(i)];
    const double cosine = std::cos(angle) * plan_.rope.magnitude;
    const double sine = std::sin(angle) * plan_.rope.magnitude;
    float& a = rope.kind == RopeKind::kNormal ? head[2 * i] : head[i];
    float& b = rope.kind == RopeKind::kNormal ? head[2 * i + 1] : head[i + rope.n_pairs];
    const double rotated_a = a * cosine - b * sine;
    b = static_cast<float>(a * sine + b * cosine);
    a = static_cast<float>(rotated_a);
  }
}

void ReferenceExecutor::qkv(const Step& step, const RowBatch& batch) {
  const ModelSpec& spec = plan_.spec;
  const Floats input = normalized(step.norm);
  query_ = linear(step.matrix, step.bias, input);
  Floats keys = linear(step.second, step.second_bias, input);
  const Floats values = linear(step.third, step.third_bias, input);
  const std::size_t length = size(spec.kv_length());
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const Row& row = batch.rows[i];
    for (int h = 0; h < spec.n_heads; ++h)
      rotate(query_.data() + (i * size(spec.n_heads) + size(h)) * size(spec.head_size), row.position);
    for (int h = 0; h < spec.n_kv_heads; ++h)
      rotate(keys.data() + (i * size(spec.n_kv_heads) + size(h)) * size(spec.head_size), row.position);
    const PageId page = batch.page_tables[size(row.sequence)][size(row.position / kKvPagePositions)];
    const int slot = row.position % kKvPagePositions;
    std::copy_n(keys.data() + i * length, length, key_value(page, step.layer, slot, 0));
    std::copy_n(values.data() + i * length, length, key_value(page, step.layer, slot, 1));
  }
}

void ReferenceExecutor::attend(const Step& step, const RowBatch& batch) {
  const ModelSpec& spec = plan_.spec;
  const std::size_t head_size = size(spec.head_size);
  attention_.assign(query_.size(), 0.0F);
  on_two_threads(batch.rows.size() * size(spec.n_heads), [&](std::size_t item) {
    const Row& row = batch.rows[item / size(spec.n_heads)];
    const std::span<const PageId> pages = batch.page_tables[size(row.sequence)];
    const std::size_t kv_first = item % size(spec.n_heads) / size(spec.group()) * head_size;
    const float* query = query_.data() + item * head_size;
    std::vector<double> scores(size(row.position + 1));
    for (int p = 0; p <= row.position; ++p) {
      const float* key = key_value(pages[size(p / kKvPagePositions)], step.layer, p % kKvPagePositions, 0) + kv_first;
      scores[size(p)] = static_cast<double>(dot(query, key, head_size)) * spec.attention_scale;
    }
    const double highest = *std::max_element(scores.begin(), scores.end());
    double total = 0.0;
    for (double& score : scores) total += score = std::exp(score - highest);
    std::vector<double> sums(head_size, 0.0);
    for (int p = 0; p <= row.position; ++p) {
      const float* value = key_value(pages[size(p / kKvPagePositions)], step.layer, p % kKvPagePositions, 1) + kv_first;
      for (std::size_t i = 0; i < head_size; ++i) sums[i] += scores[size(p)] * value[i];
    }
    for (std::size_t i = 0; i < head_size; ++i) attention_[item * head_size + i] = static_cast<float>(sums[i] / total);
  });
}

void ReferenceExecutor::feed_forward(const Step& step) {
  const Floats input = normalized(step.norm);
  hidden_ = linear(step.matrix, step.bias, input);
  const Floats up = linear(step.second, step.second_bias, input);
  for (std::size_t i = 0; i < hidden_.size(); ++i)
    hidden_[i] = activate(plan_.spec.arch->activation, hidden_[i]) * up[i];
}

void ReferenceExecutor::head(const Step& step, const RowBatch& batch, const StepOutput& output) {
  const std::size_t length = size(plan_.spec.embedding_length);
  const Floats all = normalized(step.norm);
  Floats wanted;
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    if (batch.rows[i].want != Want::kLogits) continue;
    wanted.insert(wanted.end(), all.begin() + static_cast<std::ptrdiff_t>(i * length),
                  all.begin() + static_cast<std::ptrdiff_t>((i + 1) * length));
  }
  const Floats logits = linear(step.matrix, step.bias, wanted);
  const std::size_t vocab_size = size(plan_.spec.vocab_size);
  for (std::size_t i = 0; i < output.logits.size(); ++i) {
    std::copy_n(logits.data() + i * vocab_size, vocab_size, output.logits[i]);
  }
}

std::vector<float> reference_logits(const Plan& plan, std::span<const TokenId> tokens) {
  ReferenceExecutor executor(plan);
  const int n_pages = (static_cast<int>(tokens.size()) + kKvPagePositions - 1) / kKvPagePositions;
  static_cast<void>(executor.reserve_pages(n_pages));
  std::vector<PageId> pages(size(n_pages));
  for (std::size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<PageId>(i);
  std::vector<Row> rows;
  std::vector<float> logits(tokens.size() * size(plan.spec.vocab_size));
  std::vector<float*> targets;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    rows.push_back({tokens[i], static_cast<std::int32_t>(i), 0, Want::kLogits});
    targets.push_back(logits.data() + i * size(plan.spec.vocab_size));
  }
  const std::span<const PageId> table = pages;
  static_cast<void>(executor.forward({rows, {&table, 1}}, {targets}));
  return logits;
}

}  // namespace inlay::test
