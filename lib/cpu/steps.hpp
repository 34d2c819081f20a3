// The steps of a plan on the CPU: one function each, all alike.
#pragma once

#include <span>

#include "cpu/buffers.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/kv_memory.hpp"
#include "cpu/thread_pool.hpp"
#include "cpu/weights.hpp"
#include "model/plan.hpp"
#include "runtime/backend.hpp"

namespace inlay::cpu {

/// What a step sees. The first n_bulk rows of the batch are bulk rows, where the kernels have a way of their own for
/// them.
struct StepContext {
  const Plan& plan;
  const KernelTable& kernels;
  const Weights& weights;
  ThreadPool& pool;
  Buffers& buffers;
  KvMemory& kv;
  const RowBatch& batch;
  int n_bulk;
  const StepOutput& output;
  std::span<const std::byte* const* const> pages;  // by Row::sequence: the addresses of its pages

  [[nodiscard]] int n_rows() const { return static_cast<int>(batch.rows.size()); }
};

void run_embed(const Step& step, const StepContext& context);
void run_qkv(const Step& step, const StepContext& context);
void run_attend(const Step& step, const StepContext& context);
void run_project(const Step& step, const StepContext& context);  // kProject and kDown
void run_feed_forward(const Step& step, const StepContext& context);
void run_head(const Step& step, const StepContext& context);

}  // namespace inlay::cpu
