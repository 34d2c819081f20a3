// Attention on KV pages against a plain softmax in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.hpp"
#include "cuda/device_array.hpp"
#include "cuda/kv_memory.hpp"
#include "cuda/late_array.hpp"
#include "cuda/multiply.hpp"
#include "cuda/step_attend.hpp"
#include "support/blocks.hpp"

namespace {

using namespace inlay;

constexpr int kLayers = 2;
constexpr int kPagePositions = 64;

struct Shape {
  int n_heads;
  int n_kv_heads;
  int head_size;
  KvFormat format;
};

/// Keys and values of a sequence, as the pages hold them, and rounded as floats.
class Sequence {
 public:
  Sequence(test::Random& random, const Shape& shape, int length, float deviation) : shape_(shape) {
    ModelSpec spec;
    spec.n_layers = kLayers, spec.n_kv_heads = shape.n_kv_heads, spec.head_size = shape.head_size;
    layout = cuda::KvMemory::layout_of(spec, shape.format);
    page_bytes_ = cuda::KvMemory::page_bytes(spec, shape.format);
    bytes_.assign(static_cast<std::size_t>((length + kPagePositions - 1) / kPagePositions) * page_bytes_,
                  std::byte{0xFF});
    for (int plane = 0; plane < 2; ++plane) {
      for (int position = 0; position < length; ++position) {
        for (int head = 0; head < shape.n_kv_heads; ++head) {
          store(plane, head, position,
                test::random_floats(random, static_cast<std::size_t>(shape.head_size), deviation));
        }
      }
    }
  }

  [[nodiscard]] float at(int plane, int head, int position, int col) const {
    const std::byte* row = row_of(plane, head, position);
    if (!layout.quantised) {
      std::uint16_t half = 0;
      std::memcpy(&half, row + 2 * col, 2);
      return half_to_float(half);
    }
    std::uint16_t scale = 0;
    std::memcpy(&scale, row + shape_.head_size + col / 32 * 2, 2);
    return half_to_float(scale) * static_cast<float>(static_cast<std::int8_t>(row[col]));
  }

  /// Addresses of the pages in a copy of the bytes on the device: in reverse order, as pages come in any.
  std::vector<std::byte*> pages_in(std::byte* device) const {
    std::vector<std::byte*> pages;
    for (std::size_t at = 0; at < bytes_.size(); at += page_bytes_) pages.push_back(device + at);
    return pages;
  }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

  /// The keys and values of a position: [plane][kv_head][row_bytes].
  [[nodiscard]] std::vector<std::byte> rows_of(int position) const {
    std::vector<std::byte> rows;
    for_each_row(position, [&](std::size_t offset) {
      rows.insert(rows.end(), bytes_.data() + offset, bytes_.data() + offset + layout.row_bytes);
    });
    return rows;
  }
  /// Fills those in the copy on the device with NaN, or the like.
  void poison(std::byte* device, int position) const {
    for_each_row(position, [&](std::size_t offset) {
      REQUIRE(cudaMemset(device + offset, 0xFF, static_cast<std::size_t>(layout.row_bytes)) == cudaSuccess);
    });
  }
  cuda::KvLayout layout;

 private:
  template <class Visitor>
  void for_each_row(int position, const Visitor& visit) const {
    for (int plane = 0; plane < 2; ++plane)
      for (int head = 0; head < shape_.n_kv_heads; ++head) visit(offset_of(plane, head, position));
  }
  [[nodiscard]] std::size_t offset_of(int plane, int head, int position) const {
    return static_cast<std::size_t>(position / kPagePositions) * page_bytes_ +
           layout.offset(kLayers - 1, plane, head, position % kPagePositions);
  }
  [[nodiscard]] const std::byte* row_of(int plane, int head, int position) const {
    return bytes_.data() + offset_of(plane, head, position);
  }
  void store(int plane, int head, int position, const std::vector<float>& values) {
    std::byte* row = bytes_.data() + offset_of(plane, head, position);
    for (std::size_t col = 0; col < values.size(); ++col) {
      if (!layout.quantised) {
        const std::uint16_t half = float_to_half(values[col]);
        std::memcpy(row + 2 * col, &half, 2);
        continue;
      }
      const std::uint16_t scale = float_to_half(0.05F);
      if (col % 32 == 0) std::memcpy(row + values.size() + col / 32 * 2, &scale, 2);
      row[col] = static_cast<std::byte>(std::clamp(static_cast<int>(values[col] * 20.0F), -127, 127));
    }
  }
  Shape shape_;
  std::size_t page_bytes_ = 0;
  std::vector<std::byte> bytes_;
};

/// The output of one row and head.
std::vector<double> plain_attention(const Sequence& sequence, const Shape& shape, const float* query, int kv_head,
                                    int length, double scale) {
  std::vector<double> scores(static_cast<std::size_t>(length));
  for (int p = 0; p < length; ++p) {
    double score = 0.0;
    for (int col = 0; col < shape.head_size; ++col) {
      score += static_cast<double>(query[col]) * static_cast<double>(sequence.at(0, kv_head, p, col));
    }
    scores[static_cast<std::size_t>(p)] = score * scale;
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  double total = 0.0;
  std::vector<double> out(static_cast<std::size_t>(shape.head_size));
  for (int p = 0; p < length; ++p) {
    const double weight = std::exp(scores[static_cast<std::size_t>(p)] - most);
    total += weight;
    for (int col = 0; col < shape.head_size; ++col) {
      out[static_cast<std::size_t>(col)] += weight * static_cast<double>(sequence.at(1, kv_head, p, col));
    }
  }
  for (double& value : out) value /= total;
  return out;
}

/// How the queries and the row's own keys and values come.
enum class Arrival : std::uint8_t { kBefore, kLate };

/// The outputs of rows of a sequence, [row][head][column]. Of a single row the input may come while the kernel runs;
/// its own keys and values are not in the pages then.
std::vector<float> outputs(const Sequence& sequence, const Shape& shape, const std::vector<int>& positions,
                           const std::vector<float>& query, Arrival arrival = Arrival::kBefore) {
  const test::DeviceArray<std::byte> bytes(sequence.bytes());
  const test::DeviceArray<std::byte*> pages(sequence.pages_in(bytes.data()));
  std::vector<cuda::PassRow> rows;
  for (const int position : positions) rows.push_back({0, position, 0});
  const test::DeviceArray<cuda::PassRow> device_rows(rows);
  const test::DeviceArray<float> device_query(query);
  const test::DeviceArray<float> out(query.size());
  const test::DeviceArray<float> partial(
      std::size_t{cuda::kMostPartialRows} * cuda::kMostSplits *
      static_cast<std::size_t>(shape.n_heads * cuda::floats_of_range(shape.head_size)));
  const test::DeviceArray<unsigned> arrived(
      std::vector<unsigned>(std::size_t{cuda::kMostPartialRows} * static_cast<std::size_t>(shape.n_heads)));
  cuda::AttendArgs args;
  args.state.rows = device_rows.data();
  args.state.pages = pages.data();
  args.layout = sequence.layout;
  args.layer = kLayers - 1;
  args.n_heads = shape.n_heads;
  args.n_rows = static_cast<int>(positions.size());
  args.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_size));
  args.query = device_query.data(), args.out = out.data();
  args.partial = partial.data(), args.arrived = arrived.data();
  cuda::MultiplyLimits limits;
  REQUIRE(cuda::read_limits(limits) == cudaSuccess);
  args.shared_bytes = limits.shared_bytes;
  REQUIRE(cuda::prepare_attend(args) == cudaSuccess);
  if (arrival == Arrival::kBefore) {
    REQUIRE(cuda::attend(args, nullptr) == cudaSuccess);
    return out.read();
  }
  const test::LateArray late_query(std::as_bytes(std::span(query)));
  const auto own = sequence.rows_of(positions[0]);
  const test::LateArray relay(own);
  sequence.poison(bytes.data(), positions[0]);
  args.query = reinterpret_cast<const float*>(late_query.data());
  args.relay = relay.data();
  const test::Streams streams;
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  REQUIRE(cuda::attend(args, streams.work) == cudaSuccess);
  relay.arrive(streams.copies);
  late_query.arrive(streams.copies);
  return out.read();
}

/// Rows at the given positions, run twice: the second run must have the same bits.
double worst_error(test::Random& random, const Shape& shape, const std::vector<int>& positions, float deviation) {
  const int length = *std::max_element(positions.begin(), positions.end()) + 1;
  const Sequence sequence(random, shape, length, deviation);
  const auto values = static_cast<std::size_t>(shape.n_heads * shape.head_size);
  const auto query = test::random_floats(random, positions.size() * values);
  const auto found = outputs(sequence, shape, positions, query);
  CHECK(outputs(sequence, shape, positions, query) == found);
  const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
  double worst = 0.0;
  for (std::size_t row = 0; row < positions.size(); ++row) {
    for (int head = 0; head < shape.n_heads; ++head) {
      const std::size_t first = row * values + static_cast<std::size_t>(head * shape.head_size);
      const auto expected = plain_attention(sequence, shape, &query[first], head / (shape.n_heads / shape.n_kv_heads),
                                            positions[row] + 1, scale);
      double spread = 1e-9;
      for (const double value : expected) spread = std::max(spread, std::abs(value));
      for (std::size_t col = 0; col < expected.size(); ++col) {
        const double error = std::abs(expected[col] - static_cast<double>(found[first + col])) / spread;
        if (!(error < 1e-3)) FAIL_CHECK("head " << head << " of row " << row << ", column " << col << ": " << error);
        worst = std::max(worst, error);
      }
    }
  }
  return worst;
}

TEST_CASE("attention of every head size, group and length") {
  test::Random random(6);
  double worst = 0.0;
  int checked = 0;
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kQ8_0}) {
    for (const int head_size : {8, 32, 40, 64, 80, 96, 128, 160, 256}) {
      if (format == KvFormat::kQ8_0 && head_size % 32 != 0) continue;
      for (const auto& [n_heads, n_kv_heads] : {std::pair{4, 4}, {6, 2}, {8, 2}, {8, 1}, {14, 2}, {20, 2}}) {
        const Shape shape{n_heads, n_kv_heads, head_size, format};
        for (const int length : {1, 2, 63, 64, 65, 129, 256, 257, 1000, 2048, 2049, 2100}) {
          worst = std::max(worst, worst_error(random, shape, {length - 1}, 1.0F));
          ++checked;
        }
        worst = std::max(worst, worst_error(random, shape, {0, 5, 64, 400, 399, 63, 127, 128, 2}, 1.0F));
        ++checked;
      }
    }
  }
  MESSAGE("checked " << checked << " passes, largest error " << worst << " of the largest output");
}

TEST_CASE("a row whose queries, keys and values come while attention runs has the same bits") {
  test::Random random(9);
  int checked = 0;
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kQ8_0}) {
    for (const int head_size : {32, 64, 80, 128, 256}) {
      if (format == KvFormat::kQ8_0 && head_size % 32 != 0) continue;
      for (const auto& [n_heads, n_kv_heads] : {std::pair{4, 4}, {14, 2}}) {
        const Shape shape{n_heads, n_kv_heads, head_size, format};
        for (const int length : {1, 2, 64, 65, 300, 1000, 2049}) {
          const Sequence sequence(random, shape, length, 1.0F);
          const auto query = test::random_floats(random, static_cast<std::size_t>(n_heads * head_size));
          const auto expected = outputs(sequence, shape, {length - 1}, query);
          CHECK_MESSAGE(outputs(sequence, shape, {length - 1}, query, Arrival::kLate) == expected,
                        "heads of " << head_size << ", length " << length);
          ++checked;
        }
      }
    }
  }
  MESSAGE("checked " << checked << " rows");
}

TEST_CASE("scores as large as they get") {
  test::Random random(7);
  const Shape shape{8, 2, 64, KvFormat::kF16};
  const double worst = worst_error(random, shape, {300, 700}, 1000.0F);
  MESSAGE("largest error " << worst);
}

TEST_CASE("a row of attention has the same bits alone and in company") {
  test::Random random(8);
  int checked = 0;
  for (const auto& [n_heads, n_kv_heads] : {std::pair{4, 4}, {8, 2}, {14, 2}}) {
    const Shape shape{n_heads, n_kv_heads, 64, KvFormat::kF16};
    const Sequence sequence(random, shape, 700, 1.0F);
    const auto values = static_cast<std::size_t>(n_heads * shape.head_size);
    std::vector<int> positions;
    for (int i = 0; i < cuda::kMostPartialRows + 11; ++i) positions.push_back(i * 5);
    const auto query = test::random_floats(random, positions.size() * values);
    const auto together = outputs(sequence, shape, positions, query);
    for (const std::size_t row :
         {std::size_t{0}, std::size_t{25}, std::size_t{26}, std::size_t{77}, positions.size() - 1}) {
      const auto first = static_cast<std::ptrdiff_t>(row * values);
      const std::vector<float> own(query.begin() + first, query.begin() + first + static_cast<std::ptrdiff_t>(values));
      const auto alone = outputs(sequence, shape, {positions[row]}, own);
      CHECK_MESSAGE(std::equal(alone.begin(), alone.end(), together.begin() + first), "position " << positions[row]);
      ++checked;
    }
  }
  MESSAGE("checked " << checked << " rows");
}

}  // namespace
