// What repack makes of every format, read back by the embedding step.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "cuda/device_array.hpp"
#include "cuda/record.hpp"
#include "cuda/repack.hpp"
#include "cuda/step_embed.hpp"
#include "quant/reference.hpp"
#include "support/blocks.hpp"

namespace {

using namespace inlay;

/// Every row of a packed matrix as the embedding step decodes it.
std::vector<float> embedded_rows(Format format, const test::Blocks& blocks, int n_rows, int n_cols) {
  const std::size_t raw_bytes = static_cast<std::size_t>(n_rows) * blocks.row_bytes();
  const test::DeviceArray<std::byte> raw(std::span(blocks.data(), raw_bytes));
  const test::DeviceArray<std::byte> records(cuda::records_bytes(format, n_rows, n_cols));
  REQUIRE(cuda::repack(format, raw.data(), n_rows, n_cols, records.data(), nullptr) == cudaSuccess);
  std::vector<cuda::PassRow> rows(static_cast<std::size_t>(n_rows));
  for (int i = 0; i < n_rows; ++i) rows[static_cast<std::size_t>(i)].token = i;
  const test::DeviceArray<cuda::PassRow> device_rows(rows);
  const test::DeviceArray<float> x(static_cast<std::size_t>(n_rows) * static_cast<std::size_t>(n_cols));
  cuda::EmbedArgs args;
  args.table = {records.data(), format, n_rows, n_cols, cuda::records_of_row(format, n_cols)};
  args.state.rows = device_rows.data();
  args.n_rows = n_rows;
  args.x = x.data();
  REQUIRE(cuda::embed(args, nullptr) == cudaSuccess);
  return x.read();
}

TEST_CASE("records decode to what the reference decodes, bit for bit") {
  test::Random random(1);
  std::size_t checked = 0;
  for_each_format([&](auto traits) {
    using F = decltype(traits);
    for (const int blocks_of_row : {1, 2, 9}) {
      const int n_cols = blocks_of_row * (F::block_weights == 1 ? 40 : F::block_weights);
      for (const auto fill : {test::Fill::kRandom, test::Fill::kOnes, test::Fill::kSign}) {
        constexpr int kRows = 37;
        const test::Blocks blocks(random, F::format, kRows, n_cols, fill);
        const std::vector<float> found = embedded_rows(F::format, blocks, kRows, n_cols);
        std::vector<float> expected(found.size());
        decode_row(F::format, blocks.data(), expected.size(), expected.data());
        CHECK_MESSAGE(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0,
                      std::string(F::name));
        checked += found.size();
      }
    }
  });
  MESSAGE("checked " << checked << " weights");
}

}  // namespace
