#include "cpu/buffers.hpp"

#include <algorithm>

#include "cpu/attention_split.hpp"

namespace inlay::cpu {
namespace {

std::size_t size(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

/// Elements of each buffer, in the order of the struct.
struct Sizes {
  Sizes(const ModelSpec& spec, const BufferOptions& options)
      : Sizes(spec, options, options.batch_rows, options.n_parts,
              std::max({spec.embedding_length, spec.query_length(), spec.feed_forward_length}) / kActivationBlock) {}

  Sizes(const ModelSpec& spec, const BufferOptions& options, int batch_rows, int n_parts, int longest_blocks)
      : x(size(batch_rows, spec.embedding_length)),
        blocks(size(batch_rows, longest_blocks)),
        bulk(options.has_bulk_rows ? bulk_blocks(batch_rows, longest_blocks * kActivationBlock) : 0),
        query(size(batch_rows, spec.query_length())),
        key(size(batch_rows, spec.kv_length())),
        gate(size(batch_rows, spec.feed_forward_length)),
        logits(size(std::min(batch_rows, kHeadRows), spec.vocab_size)),
        angles(size(batch_rows, spec.rope.n_pairs)),
        attention(AttentionMemory(spec.group(), spec.head_size, batch_rows, spec.context_length, n_parts).part_floats *
                  static_cast<std::size_t>(n_parts)),
        panel_scratch(options.panel_bytes * static_cast<std::size_t>(n_parts)),
        totals(matmul_totals(batch_rows) * static_cast<std::size_t>(n_parts)) {}

  std::size_t x;
  std::size_t blocks;
  std::size_t bulk;
  std::size_t query;
  std::size_t key;
  std::size_t gate;
  std::size_t logits;
  std::size_t angles;
  std::size_t attention;
  std::size_t panel_scratch;
  std::size_t totals;
};

}  // namespace

Buffers::Buffers(const ModelSpec& spec, const BufferOptions& options)
    : cursors(static_cast<std::size_t>(options.n_parts)), batch_rows(options.batch_rows) {
  const Sizes sizes(spec, options);
  x = AlignedBuffer<float>(sizes.x, options.allocator);
  normalized = AlignedBuffer<float>(sizes.x, options.allocator);
  query = AlignedBuffer<float>(sizes.query, options.allocator);
  key = AlignedBuffer<float>(sizes.key, options.allocator);
  value = AlignedBuffer<float>(sizes.key, options.allocator);
  attended = AlignedBuffer<float>(sizes.query, options.allocator);
  gate = AlignedBuffer<float>(sizes.gate, options.allocator);
  up = AlignedBuffer<float>(sizes.gate, options.allocator);
  projected = AlignedBuffer<float>(sizes.x, options.allocator);
  logits = AlignedBuffer<float>(sizes.logits, options.allocator);
  cosines = AlignedBuffer<float>(sizes.angles, options.allocator);
  sines = AlignedBuffer<float>(sizes.angles, options.allocator);
  blocks = AlignedBuffer<ActivationBlock>(sizes.blocks, options.allocator);
  bulk = AlignedBuffer<BulkBlock>(sizes.bulk, options.allocator);
  panel_scratch = AlignedBuffer<std::byte>(sizes.panel_scratch, options.allocator);
  panel_stride = options.panel_bytes;
  totals = AlignedBuffer<float>(sizes.totals, options.allocator);
  attention = AlignedBuffer<float>(sizes.attention, options.allocator);
}

std::uint64_t Buffers::bytes(const ModelSpec& spec, const BufferOptions& options) {
  const Sizes sizes(spec, options);
  const std::size_t floats = 3 * sizes.x + 2 * sizes.query + 2 * sizes.key + 2 * sizes.gate + sizes.logits +
                             2 * sizes.angles + sizes.attention + sizes.totals;
  return floats * sizeof(float) + sizes.blocks * sizeof(ActivationBlock) + sizes.bulk * sizeof(BulkBlock) +
         sizes.panel_scratch;
}

}  // namespace inlay::cpu
