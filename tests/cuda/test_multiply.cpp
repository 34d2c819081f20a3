// The multiply kernel against a plain product in double, for every format, epilogue and width of a batch.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "cuda/device_array.hpp"
#include "cuda/late_array.hpp"
#include "cuda/multiply.hpp"
#include "cuda/repack.hpp"
#include "cuda/step_quantise.hpp"
#include "quant/reference.hpp"
#include "support/blocks.hpp"

namespace {

using namespace inlay;

constexpr int kProcessors = 16;  // small grids with several panels a block

std::size_t at(int row, int stride, int col = 0) {
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(stride) + static_cast<std::size_t>(col);
}

/// A matrix on the device, and its weights.
struct TestMatrix {
  TestMatrix(test::Random& random, Format f, int rows, int cols, test::Fill fill)
      : format(f), n_rows(rows), n_cols(cols), records(cuda::records_bytes(f, rows, cols)), weights(at(rows, cols)) {
    const test::Blocks blocks(random, f, rows, cols, fill);
    const test::DeviceArray<std::byte> raw(std::span(blocks.data(), at(rows, static_cast<int>(blocks.row_bytes()))));
    REQUIRE(cuda::repack(f, raw.data(), rows, cols, records.data(), nullptr) == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    decode_row(f, blocks.data(), weights.size(), weights.data());
  }
  [[nodiscard]] cuda::DeviceMatrix device() const {
    return {records.data(), format, n_rows, n_cols, cuda::records_of_row(format, n_cols)};
  }
  Format format;
  int n_rows;
  int n_cols;
  test::DeviceArray<std::byte> records;
  std::vector<float> weights;
};

/// Activations as the product wants them, in double.
struct TestInput {
  TestInput(std::vector<float> values, std::vector<float> norm_weights, int rows, int cols)
      : x(std::move(values)),
        norm(std::move(norm_weights)),
        n_rows(rows),
        n_cols(cols),
        device_x(x),
        device_norm(norm),
        words(std::vector<std::byte>(at(rows, (cols + 255) / 256 * 8 * cuda::kStepBytes))),
        sums(std::vector<cuda::StepSums>(at(rows, (cols + 255) / 256 * 8))) {
    for (int row = 0; row < rows; ++row) {
      double squares = 0.0;
      for (int col = 0; col < cols; ++col) squares += std::pow(x[at(row, cols, col)], 2.0);
      const double factor = norm.empty() ? 1.0 : 1.0 / std::sqrt(squares / cols + kEpsilon);
      for (int col = 0; col < cols; ++col) {
        exact.push_back(x[at(row, cols, col)] * factor *
                        (norm.empty() ? 1.0 : static_cast<double>(norm[at(0, 0, col)])));
      }
    }
  }
  static constexpr float kEpsilon = 1e-5F;
  std::vector<float> x;
  std::vector<float> norm;
  int n_rows;
  int n_cols;
  std::vector<double> exact;
  test::DeviceArray<float> device_x;
  test::DeviceArray<float> device_norm;

  /// As a kernel before would have left it, if matrices that are quantised may read it.
  [[nodiscard]] cuda::QuantisedRows quantise() {
    cuda::QuantisedRows rows;
    if (n_cols % cuda::kStepOfInput != 0) return rows;
    rows.n_steps = (n_cols + 255) / 256 * 8;
    rows.words = words.data();
    rows.sums = sums.data();
    REQUIRE(cuda::quantise(device_x.data(), norm.empty() ? nullptr : device_norm.data(), n_rows, n_cols, rows,
                           nullptr) == cudaSuccess);
    return rows;
  }
  test::DeviceArray<std::byte> words;
  test::DeviceArray<cuda::StepSums> sums;
};

/// y and the sum of the magnitudes of its products.
struct Exact {
  double value = 0.0;
  double magnitude = 0.0;
};

Exact product(const TestMatrix& matrix, int row, const TestInput& input, int token) {
  Exact y;
  for (int col = 0; col < matrix.n_cols; ++col) {
    const double term = matrix.weights[at(row, matrix.n_cols, col)] * input.exact[at(token, input.n_cols, col)];
    y.value += term;
    y.magnitude += std::abs(term);
  }
  return y;
}

/// What one activation may be off, relative to the largest of its 256 neighbours, which may be 16 times the typical
/// one.
constexpr double kTolerance = 2e-3;

cuda::MultiplyArgs args_of(TestInput& input) {
  cuda::MultiplyArgs args;
  args.n_parts = 0;
  args.quantised_x = input.quantise();
  args.x = input.device_x.data();
  args.norm = input.norm.empty() ? nullptr : input.device_norm.data();
  args.epsilon = TestInput::kEpsilon;
  args.n_rows = input.n_rows;
  args.n_cols = input.n_cols;
  return args;
}

void add_part(cuda::MultiplyArgs& args, const TestMatrix& matrix, const float* bias = nullptr) {
  args.parts[static_cast<std::size_t>(args.n_parts++)] = {matrix.device(), bias, 0};
}

/// After everything else is set.
void prepare(cuda::MultiplyArgs& args) {
  REQUIRE(cuda::read_limits(args.limits) == cudaSuccess);
  REQUIRE(cuda::prepare_multiply(args) == cudaSuccess);
  args.limits.n_processors = kProcessors;
  cuda::choose_shape(args);
}

std::vector<float> run(cuda::MultiplyArgs args, const std::vector<float>& before, int stride) {
  const test::DeviceArray<float> out(before);
  args.out = out.data();
  args.out_stride = stride;
  prepare(args);
  REQUIRE(cuda::multiply(args, nullptr) == cudaSuccess);
  return out.read();
}

TEST_CASE("products of every format and batch width lie within the bound") {
  test::Random random(2);
  double worst = 0.0;
  std::size_t checked = 0;
  for_each_format([&](auto traits) {
    using F = decltype(traits);
    const int unit = F::block_weights == 1 ? 8 : F::block_weights;
    for (const int n_cols : {unit, 3 * 256 + (unit < 256 ? unit : 0), 4096}) {
      for (const auto fill : {test::Fill::kRandom, test::Fill::kOnes, test::Fill::kZeros, test::Fill::kSign}) {
        const TestMatrix matrix(random, F::format, 41, n_cols, fill);
        for (const int n_rows : {1, 2, 3, 5, 8, 19}) {
          const bool normed = n_rows % 2 == 1;
          TestInput input(test::random_floats(random, at(n_rows, n_cols)),
                          normed ? test::random_floats(random, at(1, n_cols)) : std::vector<float>{}, n_rows, n_cols);
          cuda::MultiplyArgs args = args_of(input);
          add_part(args, matrix);
          const std::vector<float> found = run(args, std::vector<float>(at(n_rows, 41), NAN), 41);
          for (int token = 0; token < n_rows; ++token) {
            for (int row = 0; row < 41; ++row) {
              const Exact y = product(matrix, row, input, token);
              const double error = std::abs(found[at(token, 41, row)] - y.value) / std::max(y.magnitude, 1e-30);
              if (!(error < kTolerance))
                FAIL_CHECK(std::string(F::name) << " " << n_cols << " " << n_rows << ": " << error);
              worst = std::max(worst, error);
              ++checked;
            }
          }
        }
      }
    }
  });
  MESSAGE("checked " << checked << " outputs, largest error " << worst << " of the sum of magnitudes");
}

TEST_CASE("a row has the same bits alone and in company") {
  test::Random random(3);
  for_each_format([&](auto traits) {
    using F = decltype(traits);
    constexpr int kCols = 2048;
    const TestMatrix matrix(random, F::format, 64, kCols, test::Fill::kRandom);
    const auto norm = test::random_floats(random, kCols);
    TestInput all(test::random_floats(random, at(11, kCols)), norm, 11, kCols);
    cuda::MultiplyArgs args = args_of(all);
    add_part(args, matrix);
    const std::vector<float> together = run(args, std::vector<float>(at(11, 64), NAN), 64);
    for (int row = 0; row < 11; ++row) {
      TestInput one({all.x.begin() + static_cast<std::ptrdiff_t>(at(row, kCols)),
                     all.x.begin() + static_cast<std::ptrdiff_t>(at(row + 1, kCols))},
                    norm, 1, kCols);
      cuda::MultiplyArgs alone = args_of(one);
      add_part(alone, matrix);
      const std::vector<float> found = run(alone, std::vector<float>(64, NAN), 64);
      CHECK_MESSAGE(std::equal(found.begin(), found.end(), together.begin() + static_cast<std::ptrdiff_t>(at(row, 64))),
                    F::name);
    }
  });
}

TEST_CASE("gates, residuals and biases") {
  test::Random random(4);
  constexpr int kCols = 512;
  constexpr int kRows = 100;
  const TestMatrix gate(random, Format::kQ4_K, kRows, kCols, test::Fill::kRandom);
  const TestMatrix up(random, Format::kQ6_K, kRows, kCols, test::Fill::kRandom);
  const auto bias = test::random_floats(random, kRows);
  const test::DeviceArray<float> device_bias(bias);
  for (const int n_rows : {1, 3, 6}) {
    TestInput input(test::random_floats(random, at(n_rows, kCols)), test::random_floats(random, kCols, 0.1F), n_rows,
                    kCols);
    cuda::MultiplyArgs gated = args_of(input);
    gated.epilogue = cuda::Epilogue::kGated;
    add_part(gated, gate, device_bias.data());
    add_part(gated, up);
    const auto hidden = run(gated, std::vector<float>(at(n_rows, kRows), NAN), kRows);
    cuda::MultiplyArgs added = args_of(input);
    added.epilogue = cuda::Epilogue::kAdd;
    add_part(added, up, device_bias.data());
    const auto before = test::random_floats(random, at(n_rows, kRows));
    const auto sums = run(added, before, kRows);
    for (int token = 0; token < n_rows; ++token) {
      for (int row = 0; row < kRows; ++row) {
        const Exact g = product(gate, row, input, token);
        const Exact u = product(up, row, input, token);
        const double b = static_cast<double>(bias[at(0, 0, row)]);
        const double x = g.value + b;
        const double expected = x / (1.0 + std::exp(-x)) * u.value;
        const double bound =
            kTolerance * ((g.magnitude + std::abs(b)) * std::abs(u.value) * 1.1 + std::abs(x) * u.magnitude + 1e-3);
        CHECK(std::abs(hidden[at(token, kRows, row)] - expected) <= bound);
        CHECK(std::abs(sums[at(token, kRows, row)] - (u.value + b + before[at(token, kRows, row)])) <=
              kTolerance * (u.magnitude + 1.0));
      }
    }
  }
}

TEST_CASE("an infinity or a NaN shows in its row and in no other") {
  test::Random random(5);
  for (const Format format : {Format::kQ4_K, Format::kQ6_K, Format::kQ8_0, Format::kF16, Format::kF32}) {
    const TestMatrix matrix(random, format, 16, 512, test::Fill::kRandom);
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      auto x = test::random_floats(random, at(3, 512));
      x[at(1, 512, 300)] = bad;
      TestInput input(x, {}, 3, 512);
      cuda::MultiplyArgs args = args_of(input);
      add_part(args, matrix);
      const auto found = run(args, std::vector<float>(at(3, 16), 0.0F), 16);
      for (int row = 0; row < 16; ++row) {
        CHECK(std::isfinite(found[at(0, 16, row)]));
        CHECK(!std::isfinite(found[at(1, 16, row)]));
        CHECK(std::isfinite(found[at(2, 16, row)]));
      }
    }
  }
}

/// Of a row's logits, as the host's sampler ranks them: a NaN is below all numbers, the lowest id is taken among
/// equals.
int highest_of(const float* logits, int n) {
  const auto ranked = [](float logit) { return std::isnan(logit) ? -INFINITY : logit; };
  int best = 0;
  for (int i = 1; i < n; ++i) {
    if (ranked(logits[i]) > ranked(logits[best])) best = i;
  }
  return best;
}

/// The tokens of `args`' rows, chosen twice, so that nothing of the first time may be left.
std::vector<std::int32_t> chosen_tokens(const cuda::MultiplyArgs& args, int n_rows) {
  const auto n = static_cast<std::size_t>(n_rows);
  const test::DeviceArray<unsigned long long> best{std::vector<unsigned long long>(n)};
  const test::DeviceArray<cuda::PassRow> rows{std::vector<cuda::PassRow>(n)};
  std::vector<std::int32_t> in_order(n);
  std::iota(in_order.begin(), in_order.end(), 0);
  const test::DeviceArray<std::int32_t> logit_rows(in_order);
  const test::DeviceArray<unsigned> n_chosen{std::vector<unsigned>(cuda::kLogitRows)};
  const test::DeviceArray<std::int32_t> host_tokens(std::size_t{cuda::kChoiceRing} * cuda::kLogitRows);
  const test::DeviceArray<unsigned> n_arrived{std::vector<unsigned>(1)};
  cuda::MultiplyArgs head = args;
  cuda::MultiplyChoice& choice = head.choice;
  choice.state.rows = rows.data(), choice.state.logit_rows = logit_rows.data();
  choice.state.n_chosen = n_chosen.data(), choice.state.host_tokens = host_tokens.data();
  choice.best = best.data(), choice.n_arrived = n_arrived.data();
  for (int time = 0; time < 2; ++time) {
    REQUIRE(cuda::multiply(head, nullptr) == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);  // the state is as a pass has left it
  }
  CHECK(best.read() == std::vector<unsigned long long>(n));
  CHECK(n_arrived.read() == std::vector<unsigned>(1));
  const auto tokens = host_tokens.read();
  std::vector<std::int32_t> found;
  for (std::size_t i = 0; i < n; ++i) {
    CHECK(rows.read()[i].position == 2);
    found.push_back(rows.read()[i].token);
    CHECK(tokens[i] == found.back());
    CHECK(tokens[cuda::kLogitRows + i] == found.back());
  }
  return found;
}

TEST_CASE("the highest logit of a row is its token, the lowest id among equals") {
  test::Random random(11);
  int checked = 0;
  for (const Format format : {Format::kQ4_K, Format::kQ6_K, Format::kQ8_0, Format::kF16, Format::kF32}) {
    for (const int vocab_size : {1, 15, 16, 33, 1000, 4099}) {
      for (const auto fill : {test::Fill::kRandom, test::Fill::kOnes, test::Fill::kZeros}) {
        const TestMatrix matrix(random, format, vocab_size, 512, fill);
        for (const int n_rows : {1, 2, 3, 4, 5, 8}) {
          auto x = test::random_floats(random, at(n_rows, 512));
          if (n_rows == 3) x[at(1, 512, 300)] = NAN;
          TestInput input(x, {}, n_rows, 512);
          cuda::MultiplyArgs args = args_of(input);
          add_part(args, matrix);
          const test::DeviceArray<float> logits(at(n_rows, vocab_size));
          args.out = logits.data(), args.out_stride = vocab_size;
          prepare(args);
          const auto tokens = chosen_tokens(args, n_rows);
          const auto found = logits.read();
          for (int row = 0; row < n_rows; ++row, ++checked) {
            CAPTURE(vocab_size);
            CHECK(tokens[static_cast<std::size_t>(row)] == highest_of(found.data() + at(row, vocab_size), vocab_size));
          }
        }
      }
    }
  }
  MESSAGE("compared " << checked << " tokens");
}

/// What the words and sums of a quantised step stand for, against the activations that were quantised.
struct StepCheck {
  double worst = 0.0;          // of an activation, in scales
  double worst_sum = 0.0;      // of the sums, relative to the magnitudes
  double worst_squares = 0.0;  // relative
};

/// `source`: what a norm's weights were multiplied with; null where no norm follows, so that nobody needs the squares.
void check_step(const std::byte* words, const cuda::StepSums& sums, const float* x, const float* source,
                StepCheck& found) {
  double halves[2] = {};
  double magnitude = 0.0;
  double squares = 0.0;
  double most = 0.0;
  for (int col = 0; col < 32; ++col) {
    const int byte = col % 16 / 4 * 8 + col / 16 * 4 + col % 4;
    const double quant = 256 * static_cast<std::int8_t>(words[byte]) + static_cast<std::int8_t>(words[32 + byte]);
    const double value = quant * static_cast<double>(sums.scale);
    if (sums.scale > 0.0F) {
      found.worst =
          std::max(found.worst, std::abs(value - static_cast<double>(x[col])) / static_cast<double>(sums.scale));
    } else {
      CHECK(x[col] == 0.0F);
    }
    halves[col / 16] += value;
    magnitude += std::abs(value);
    if (source != nullptr) squares += std::pow(static_cast<double>(source[col]), 2.0);
    most = std::max(most, std::abs(static_cast<double>(x[col])));
  }
  CHECK(static_cast<double>(sums.scale) * 32512.0 == doctest::Approx(most).epsilon(1e-6));
  if (magnitude == 0.0) return;
  found.worst_sum = std::max({found.worst_sum, std::abs(halves[0] - static_cast<double>(sums.low)) / magnitude,
                              std::abs(halves[1] - static_cast<double>(sums.high)) / magnitude});
  if (source == nullptr) {
    CHECK(sums.squares == 0.0F);
    return;
  }
  found.worst_squares = std::max(found.worst_squares, std::abs(squares - static_cast<double>(sums.squares)) / squares);
}

TEST_CASE("outputs are handed over as integers") {
  test::Random random(6);
  constexpr int kRows = 96;
  constexpr int kCols = 512;
  const TestMatrix matrix(random, Format::kQ4_K, kRows, kCols, test::Fill::kRandom);
  const TestMatrix up(random, Format::kQ4_K, kRows, kCols, test::Fill::kRandom);
  const auto next_norm = test::random_floats(random, kRows);
  const test::DeviceArray<float> device_norm(next_norm);
  StepCheck found;
  int checked = 0;
  for (const int n_rows : {1, 3, 7, 11}) {
    TestInput input(test::random_floats(random, at(n_rows, kCols)), {}, n_rows, kCols);
    for (const auto epilogue : {cuda::Epilogue::kAdd, cuda::Epilogue::kGated}) {
      const bool gated = epilogue == cuda::Epilogue::kGated;
      const test::DeviceArray<std::byte> words(at(n_rows, 8 * cuda::kStepBytes));
      const test::DeviceArray<cuda::StepSums> sums(at(n_rows, 8));
      cuda::MultiplyArgs args = args_of(input);
      args.epilogue = epilogue;
      add_part(args, matrix);
      if (gated) add_part(args, up);
      args.quantised_out = {words.data(), sums.data(), 8};
      args.next_norm = gated ? nullptr : device_norm.data();
      const std::vector<float> out = run(args, test::random_floats(random, at(n_rows, kRows)), kRows);
      const auto host_words = words.read();
      const auto host_sums = sums.read();
      for (int row = 0; row < n_rows; ++row) {
        for (int step = 0; step < kRows / 32; ++step) {
          float x[32];
          for (int col = 0; col < 32; ++col) {
            x[col] = out[at(row, kRows, step * 32 + col)] * (gated ? 1.0F : next_norm[at(0, 0, step * 32 + col)]);
          }
          check_step(host_words.data() + at(row, 8, step) * cuda::kStepBytes, host_sums[at(row, 8, step)], x,
                     gated ? nullptr : out.data() + at(row, kRows, step * 32), found);
          ++checked;
        }
      }
    }
  }
  CHECK(found.worst < 0.51);
  CHECK(found.worst_sum < 1e-6);
  CHECK(found.worst_squares < 1e-6);
  MESSAGE("checked " << checked << " steps: activations within " << found.worst << " of their scale, sums within "
                     << found.worst_sum << ", squares within " << found.worst_squares);
}

/// Starts a product of one row before its input is there. `words`, `sums`, `x`: of the input; `before`: the residual.
std::vector<float> run_early(cuda::MultiplyArgs args, const TestInput& input, const std::vector<float>& before,
                             int stride) {
  const auto words = input.words.read();
  const auto sums = input.sums.read();
  const test::LateArray late_words(words);
  const test::LateArray late_sums(std::as_bytes(std::span(sums)));
  const test::LateArray late_x(std::as_bytes(std::span(input.x)));
  const test::LateArray residual(std::as_bytes(std::span(before)));
  args.is_relayed = true;
  args.quantised_x.words = late_words.data();
  args.quantised_x.sums = reinterpret_cast<cuda::StepSums*>(late_sums.data());
  args.x = reinterpret_cast<const float*>(late_x.data());
  args.residual = reinterpret_cast<const float*>(residual.data());
  const test::DeviceArray<float> out(before.size());
  args.out = out.data();
  args.out_stride = stride;
  prepare(args);
  const test::Streams streams;
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  REQUIRE(cuda::multiply(args, streams.work) == cudaSuccess);
  for (const test::LateArray* late : {&late_sums, &late_x, &late_words, &residual}) late->arrive(streams.copies);
  return out.read();
}

TEST_CASE("a row whose input comes while its product runs has the same bits") {
  test::Random random(7);
  int checked = 0;
  for_each_format([&](auto traits) {
    using F = decltype(traits);
    for (const int n_cols : {F::block_weights == 256 ? 256 : 288, 2048, 12800}) {
      const TestMatrix matrix(random, F::format, 64, n_cols, test::Fill::kRandom);
      for (const auto epilogue : {cuda::Epilogue::kAdd, cuda::Epilogue::kGated}) {
        TestInput input(test::random_floats(random, at(1, n_cols)), test::random_floats(random, at(1, n_cols)), 1,
                        n_cols);
        cuda::MultiplyArgs args = args_of(input);
        args.epilogue = epilogue;
        for (int i = epilogue == cuda::Epilogue::kGated ? 2 : 1; i > 0; --i) add_part(args, matrix);
        const auto before = test::random_floats(random, at(1, 64));
        CHECK_MESSAGE(run_early(args, input, before, 64) == run(args, before, 64), F::name << " of " << n_cols);
        ++checked;
      }
    }
  });
  MESSAGE("checked " << checked << " products");
}

TEST_CASE("no word of an output is one that stands for what is not there yet") {
  test::Random random(8);
  constexpr int kRows = 96;
  constexpr int kCols = 256;
  const TestMatrix matrix(random, Format::kQ4_K, kRows, kCols, test::Fill::kRandom);
  for (const int n_rows : {1, 3}) {
    TestInput input(std::vector<float>(at(n_rows, kCols)), {}, n_rows, kCols);  // so that the residual is the output
    const test::DeviceArray<std::byte> words(std::vector<std::byte>(at(n_rows, 8 * cuda::kStepBytes)));
    const test::DeviceArray<cuda::StepSums> sums(std::vector<cuda::StepSums>(at(n_rows, 8)));
    cuda::MultiplyArgs args = args_of(input);
    args.epilogue = cuda::Epilogue::kAdd;
    add_part(args, matrix);
    args.quantised_out = {words.data(), sums.data(), 8};
    // Of a scale of 1 all but the first four of a step have fine parts of -128; the last one is such a word itself.
    std::vector<float> before(at(n_rows, kRows));
    for (std::size_t i = 0; i < before.size(); ++i) {
      before[i] = i % 32 < 4 ? 32512.0F : static_cast<float>(i % 32 * 256) - 128.0F;
      if (i % 32 == 31) std::memcpy(&before[i], &cuda::kAbsent, sizeof(float));
    }
    const auto out = run(args, before, kRows);
    const auto is_absent = [](const void* word) {
      return std::memcmp(word, &cuda::kAbsent, sizeof(cuda::kAbsent)) == 0;
    };
    for (std::size_t i = 0; i < out.size(); ++i) {
      CHECK(!is_absent(&out[i]));
      CHECK(std::abs(out[i] - before[i]) < 1e-30F);
    }
    const auto bytes = words.read();
    for (std::size_t i = 0; i < bytes.size(); i += 4) CHECK(!is_absent(&bytes[i]));
    const auto host_sums = sums.read();
    StepCheck found;
    for (int step = 0; step < n_rows * 8; ++step) {
      if (step % 8 >= kRows / 32) continue;
      const auto col = at(step / 8, kRows, step % 8 * 32);
      check_step(bytes.data() + at(step, cuda::kStepBytes), host_sums[at(0, 0, step)], &out[col], nullptr, found);
    }
    CHECK(found.worst < 1.01);
    CHECK(found.worst_sum < 1e-4);
    MESSAGE("checked " << bytes.size() / 4 << " words: activations within " << found.worst << " of their scale");
  }
}

}  // namespace
