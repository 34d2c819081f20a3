// What the CUDA backend decides on the host: how matrices lie and how work is cut. Needs no GPU.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "cuda/kv_memory.hpp"
#include "cuda/multiply.hpp"
#include "cuda/record.hpp"

namespace {

using namespace inlay;

TEST_CASE("records take the memory of the file's blocks") {
  for_each_format([](auto traits) {
    using F = decltype(traits);
    constexpr int kRows = 64;
    constexpr int kCols = 2048;
    const std::size_t in_file = kRows * row_bytes(F::format, kCols);
    const std::size_t packed = cuda::records_bytes(F::format, kRows, kCols);
    // Q3_K's scales become bytes: 4 more than the 110 of a block.
    const std::size_t expected = F::format == Format::kQ3_K ? in_file / 110 * 114 : in_file;
    CHECK_MESSAGE(packed == expected, std::string(F::name));
    // Rows and columns are filled up.
    CHECK(cuda::records_bytes(F::format, 1, 32) == cuda::records_bytes(F::format, 16, 33));
    CHECK(cuda::record_info(F::format).bytes % 16 == 0);
  });
}

/// How often each panel of each part is the work of a block.
std::vector<std::vector<int>> panels_of_blocks(const cuda::MultiplyArgs& args) {
  const bool gated = args.epilogue == cuda::Epilogue::kGated;
  std::vector<std::vector<int>> found;
  for (int part = 0; part < args.n_parts; ++part) {
    found.emplace_back(
        static_cast<std::size_t>(cuda::panels_of(args.parts[static_cast<std::size_t>(part)].matrix.n_rows)));
  }
  for (int block = 0; block < args.shape.n_blocks; ++block) {
    int part = 0;
    while (!gated && part + 1 < args.n_parts && block >= args.parts[static_cast<std::size_t>(part) + 1].first_block)
      ++part;
    const cuda::MultiplyShape& shape = args.shape;
    for (int group = 0; group < shape.n_groups; ++group) {
      const int which = gated ? group % 2 : part;
      const int of_part =
          gated ? block * (shape.n_groups / 2) + group / 2
                : (block - args.parts[static_cast<std::size_t>(part)].first_block) * shape.n_groups + group;
      auto& counts = found[static_cast<std::size_t>(which)];
      for (int i = 0; i < shape.panels_of_group; ++i) {
        const auto panel = static_cast<std::size_t>(of_part * shape.panels_of_group + i);
        if (panel < counts.size()) ++counts[panel];
      }
    }
  }
  return found;
}

TEST_CASE("blocks cover every panel once, whatever the sizes") {
  int checked = 0;
  for (const auto epilogue : {cuda::Epilogue::kStore, cuda::Epilogue::kGated, cuda::Epilogue::kQkv}) {
    for (const bool quantised_cache : {false, true}) {
      for (const int rows : {1, 16, 40, 320, 2048, 5632, 32000, 152064}) {
        for (const int cols : {32, 576, 2048, 5632, 14336}) {
          for (const int processors : {1, 28, 132}) {
            cuda::MultiplyArgs args;
            args.epilogue = epilogue;
            args.kv.layout.quantised = quantised_cache;
            args.n_parts = epilogue == cuda::Epilogue::kGated ? 2 : epilogue == cuda::Epilogue::kQkv ? 3 : 1;
            for (int part = 0; part < args.n_parts; ++part) {
              const int part_rows = epilogue == cuda::Epilogue::kQkv && part > 0 ? std::max(rows / 8, 1) : rows;
              args.parts[static_cast<std::size_t>(part)].matrix = {nullptr, Format::kQ4_K, part_rows, cols,
                                                                   cuda::records_of_row(Format::kQ4_K, cols)};
            }
            std::byte handed_over[1];
            const bool hands_over = quantised_cache && epilogue != cuda::Epilogue::kQkv;
            if (hands_over) args.quantised_out.words = handed_over;
            args.limits = {processors, 227 * 1024};
            cuda::choose_shape(args);
            const int warps = args.shape.n_warps();
            CHECK(warps >= 1);
            CHECK(warps <= 16);
            CHECK(args.shape.panels_of_group <= 2 * args.shape.warps_of_group);
            CHECK(args.shape.n_panels() % cuda::panels_unit(args) == 0);
            if (epilogue == cuda::Epilogue::kGated) CHECK(args.shape.n_groups % 2 == 0);
            const bool whole_steps = hands_over || (epilogue == cuda::Epilogue::kQkv && quantised_cache);
            if (whole_steps) CHECK(args.shape.n_panels() / (epilogue == cuda::Epilogue::kGated ? 2 : 1) % 2 == 0);
            for (const auto& counts : panels_of_blocks(args)) {
              CHECK(std::all_of(counts.begin(), counts.end(), [](int count) { return count == 1; }));
            }
            ++checked;
          }
        }
      }
    }
  }
  MESSAGE("checked " << checked << " shapes");
}

TEST_CASE("KV planes of a page lie side by side, rows on 16 bytes") {
  ModelSpec spec;
  spec.n_layers = 3, spec.n_kv_heads = 2;
  for (const int head_size : {8, 40, 64, 80, 128, 256}) {
    spec.head_size = head_size;
    for (const KvFormat format : {KvFormat::kF16, KvFormat::kQ8_0}) {
      const cuda::KvLayout layout = cuda::KvMemory::layout_of(spec, format);
      CHECK(layout.row_bytes % 16 == 0);
      CHECK(layout.row_bytes >= (format == KvFormat::kF16 ? 2 * head_size : head_size + head_size / 32 * 2));
      std::size_t next = 0;
      for (int layer = 0; layer < spec.n_layers; ++layer) {
        for (const int plane : {0, 1}) {
          for (int head = 0; head < spec.n_kv_heads; ++head) {
            CHECK(layout.offset(layer, plane, head, 0) == next);
            next += layout.plane_bytes();
          }
        }
      }
      CHECK(cuda::KvMemory::page_bytes(spec, format) == next);
    }
  }
}

}  // namespace
