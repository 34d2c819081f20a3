// The kernel of multiply.hpp. Included by one source file for each width of a batch.
#pragma once

#include "cuda/choice.cuh"
#include "cuda/dependent.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/output.cuh"
#include "cuda/sum_store.cuh"
#include "cuda/warp_product.cuh"

namespace inlay::cuda {
namespace {

constexpr int kRegisters = 128;  // of a thread

/// How outputs are made (OutputRules), of a kernel of a single token: each epilogue has code of its own, and is told
/// from the others before the sums are there.
template <Epilogue kEpilogue, bool kApart>
struct KnownEnding {
  static constexpr int kTokens = 1;
  static constexpr bool kIsApart = kApart;
  [[nodiscard]] static __device__ __forceinline__ bool is_apart(const SharedLayout& /*layout*/) { return kApart; }
  [[nodiscard]] static __device__ __forceinline__ bool is(Epilogue epilogue) { return epilogue == kEpilogue; }
};

/// Of several tokens: less code.
template <int kTokensOfBlock>
struct AnyEnding {
  static constexpr int kTokens = kTokensOfBlock;
  Epilogue epilogue;
  static constexpr bool kIsApart = false;
  [[nodiscard]] static __device__ __forceinline__ bool is_apart(const SharedLayout& /*layout*/) { return false; }
  [[nodiscard]] __device__ __forceinline__ bool is(Epilogue other) const { return epilogue == other; }
};

template <int kTokens, class Visitor>
__device__ __forceinline__ void visit_ending(const MultiplyArgs& args, const SharedLayout& layout,
                                             const Visitor& visitor) {
  if constexpr (kTokens > 1) {
    visitor(AnyEnding<kTokens>{args.epilogue});
  } else {
    const auto visit = [&]<Epilogue kEpilogue>() {
      if (layout.apart > 0) {
        visitor(KnownEnding<kEpilogue, true>{});
      } else {
        visitor(KnownEnding<kEpilogue, false>{});
      }
    };
    switch (args.epilogue) {
      case Epilogue::kAdd:
        return visit.template operator()<Epilogue::kAdd>();
      case Epilogue::kGated:
        return visit.template operator()<Epilogue::kGated>();
      case Epilogue::kQkv:
        return visit.template operator()<Epilogue::kQkv>();
      case Epilogue::kStore:
        return visit.template operator()<Epilogue::kStore>();
    }
  }
}

/// Makes the outputs when all warps have come here. `place`: of the thread's first one, or null in whole warps.
template <int kTokens, class Ending>
__device__ __forceinline__ void end_product(const MultiplyArgs& args, const SharedLayout& layout, unsigned char* shared,
                                            OutputPlace* place, const Ending& ending) {
  if (__all_sync(kAllLanes, place == nullptr)) {
    __syncthreads();
    return;
  }
  OutputPlace y = *place;
  const OutputRules rules(args, layout, ending, y);
  __syncthreads();
  finish_output(args, ending, rules, y);
  if constexpr (kTokens > 1) {  // a single token has a thread for each output
    for (int round = 1; round < layout.n_rounds; ++round) {
      *place = find_output<kTokens>(args, layout, shared, round);
      fetch_input<kTokens>(args, *place);
      wait_for_copies();
      y = *place;
      finish_output(args, ending, OutputRules(args, layout, ending, y), y);
    }
  }
}

template <int kTokens, class... Formats>
__global__ void __maxnreg__(kRegisters)
    multiply_kernel(const __grid_constant__ MultiplyArgs args, const __grid_constant__ SharedLayout layout) {
  extern __shared__ __align__(128) unsigned char shared[];
  allow_next_kernel();
  const WarpTask task = task_of_warp(args);
  OutputPlace* place = nullptr;
  // Whole warps have an output, or none.
  // The vote tells the compiler that a warp's lanes go the same way: without that, it adds a branch to every shuffle.
  const bool has_output = __any_sync(kAllLanes, static_cast<int>(threadIdx.x) < layout.n_places);
  if (has_output) {
    place = reinterpret_cast<OutputPlace*>(shared + layout.places) + threadIdx.x;
    *place = find_output<kTokens>(args, layout, shared, 0);
  }
  clear_sums<kTokens>(args, task, layout, shared);
  const auto run = [&]<class Format>() { run_warp<kTokens, Format>(args, task, layout, shared, place); };
  if constexpr (sizeof...(Formats) == 1) {
    (run.template operator()<Formats>(), ...);
  } else {
    ((Formats::format == task.part->matrix.format ? run.template operator()<Formats>() : void()), ...);
  }
  visit_ending<kTokens>(args, layout,
                        [&](const auto& ending) { end_product<kTokens>(args, layout, shared, place, ending); });
  // So that a kernel that has ended says the same of all before it; and so that none of them reads what is handed out.
  if constexpr (kTokens == 1) wait_for_previous_kernel();
  if (args.choice.best != nullptr) hand_out_best(args.choice, args.n_rows);
}

/// For the format of all parts, or for the usual pairs.
template <int kTokens>
MultiplyKernel single_or_pair(Format first, Format second) {
  MultiplyKernel kernel = nullptr;
  if (first == second) visit(first, [&](auto traits) { kernel = multiply_kernel<kTokens, decltype(traits)>; });
  const auto use_pair = [&]<class A, class B>(MultiplyKernel of_pair) {
    const bool is_pair = (first == A::format && second == B::format) || (first == B::format && second == A::format);
    if (is_pair) kernel = of_pair;
  };
  use_pair.template operator()<Q4_K, Q6_K>(multiply_kernel<kTokens, Q4_K, Q6_K>);
  use_pair.template operator()<Q5_K, Q6_K>(multiply_kernel<kTokens, Q5_K, Q6_K>);
  return kernel;
}

}  // namespace
}  // namespace inlay::cuda
