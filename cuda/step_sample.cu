#include "cuda/step_sample.hpp"

#include <climits>
#include <cmath>

#include "base/split_mix.hpp"
#include "cuda/block_sums.cuh"
#include "cuda/dependent.cuh"
#include "cuda/hand_out.cuh"
#include "cuda/launch.hpp"
#include "cuda/logit_key.cuh"

namespace inlay::cuda {
namespace {

constexpr int kThreads = 256;       // of a block that looks at a slice
constexpr int kDrawThreads = 1024;  // of a block that draws a row's token
constexpr int kWindow = 2048;       // the largest bin that is sorted in shared memory
constexpr double kWeightUnits = 0x1.0p35;

/// Which bin a logit belongs to: a lower logit is never in an earlier bin.
struct BinScale {
  float highest = 0.0F;
  float bins_of_unit = 0.0F;

  __device__ __forceinline__ int bin(float logit) const {
    const float place = (highest - logit) * bins_of_unit;  // a NaN where both are infinite, or the range is empty
    return place > 0.0F ? static_cast<int>(fminf(place, kSampleBins - 1)) : 0;
  }
};

/// Every thread of the block calls it.
template <int kBlockThreads>
__device__ BinScale scale_of(const SampleArgs& args, int row, float temperature) {
  const int n = slices_of(args.vocab_size);
  const Extremes* slices = args.extremes + static_cast<std::size_t>(row) * static_cast<std::size_t>(n);
  float highest = -INFINITY;
  float lowest = INFINITY;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kBlockThreads) {
    highest = fmaxf(highest, slices[i].highest);
    lowest = fminf(lowest, slices[i].lowest);
  }
  highest = reduce_block<kBlockThreads>(highest, Highest{});
  lowest = reduce_block<kBlockThreads>(lowest, Lowest{});
  // Weights below e^-64 share the last bin: it is hardly ever looked into.
  const float range = fminf(highest - lowest, 64.0F * fmaxf(temperature, 1.0F));
  return {highest, kSampleBins / range};
}

__device__ __forceinline__ double weight_of(float logit, float highest, float temperature) {
  return exp((static_cast<double>(logit) - static_cast<double>(highest)) / static_cast<double>(temperature));
}

__device__ __forceinline__ void add_weight(WeightSum& sum, double weight) {
  if (!(weight > 0.0)) return;
  const double units = weight * kWeightUnits;
  const auto high = static_cast<unsigned long long>(units);
  if (high > 0) atomicAdd(&sum.high, high);
  atomicAdd(&sum.low, static_cast<unsigned long long>((units - static_cast<double>(high)) * kWeightUnits));
}

__device__ __forceinline__ double value_of(const WeightSum& sum) {
  return (static_cast<double>(sum.high) + static_cast<double>(sum.low) / kWeightUnits) / kWeightUnits;
}

/// What the blocks that look at slices work on.
struct Slice {
  int row;
  int begin;  // of the logits
  int end;
  const float* logits;  // [V] of the row
  SampleBin* bins;      // [kSampleBins] of the row

  __device__ explicit Slice(const SampleArgs& args)
      : row(static_cast<int>(blockIdx.y)),
        begin(static_cast<int>(blockIdx.x) * kSampleSlice),
        end(min(begin + kSampleSlice, args.vocab_size)),
        logits(args.logits + static_cast<std::size_t>(row) * static_cast<std::size_t>(args.vocab_size)),
        bins(args.bins + row * kSampleBins) {}
};

/// The extremes of every slice, and empty bins.
__global__ void __launch_bounds__(kThreads) survey_kernel(const __grid_constant__ SampleArgs args) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const Slice slice(args);
  const int step = static_cast<int>(gridDim.x) * kThreads;
  for (int bin = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); bin < kSampleBins;
       bin += step) {
    slice.bins[bin] = SampleBin{};
  }
  float highest = -INFINITY;
  float lowest = INFINITY;
  for (int i = slice.begin + static_cast<int>(threadIdx.x); i < slice.end; i += kThreads) {
    const float logit = ranked(slice.logits[i]);
    highest = fmaxf(highest, logit);
    if (logit > -INFINITY) lowest = fminf(lowest, logit);
  }
  highest = reduce_block<kThreads>(highest, Highest{});
  lowest = reduce_block<kThreads>(lowest, Lowest{});
  if (threadIdx.x == 0) {
    const std::size_t first = static_cast<std::size_t>(slice.row) * gridDim.x;
    args.extremes[first + blockIdx.x] = {highest, lowest};
  }
}

/// How many candidates each bin has, and their weights.
__global__ void __launch_bounds__(kThreads) count_kernel(const __grid_constant__ SampleArgs args) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const Slice slice(args);
  const RowChoice choice = args.state.choices[slice.row];
  const BinScale scale = scale_of<kThreads>(args, slice.row, choice.temperature);
  for (int i = slice.begin + static_cast<int>(threadIdx.x); i < slice.end; i += kThreads) {
    const float logit = ranked(slice.logits[i]);
    SampleBin& bin = slice.bins[scale.bin(logit)];
    atomicAdd(&bin.n, 1U);
    if (choice.temperature == 0.0F) continue;
    if (choice.top_p < 1.0F) add_weight(bin.plain, weight_of(logit, scale.highest, 1.0F));
    add_weight(bin.drawn, weight_of(logit, scale.highest, choice.temperature));
  }
}

/// The most candidates that the choice can leave.
__device__ __forceinline__ unsigned most_candidates(const RowChoice& choice, int vocab_size) {
  if (choice.temperature == 0.0F) return 1;
  return static_cast<unsigned>(choice.top_k > 0 ? min(choice.top_k, vocab_size) : vocab_size);
}

/// Where the candidates of each bin start among all, [kSampleBins]. Every thread of the block calls it.
template <int kBlockThreads>
__device__ void find_starts(const SampleBin* bins, unsigned* starts) {
  constexpr int kEach = kSampleBins / kBlockThreads;
  const int first = static_cast<int>(threadIdx.x) * kEach;
  unsigned counts[kEach];
  unsigned sum = 0;
  for (int i = 0; i < kEach; ++i) sum += counts[i] = bins[first + i].n;
  unsigned all = 0;
  unsigned start = scan_block<kBlockThreads>(sum, all);
  for (int i = 0; i < kEach; ++i) {
    starts[first + i] = start;
    start += counts[i];
  }
  __syncthreads();
}

/// The candidates in the order of their bins, as far as they can be needed.
__global__ void __launch_bounds__(kThreads) place_kernel(const __grid_constant__ SampleArgs args) {
  __shared__ unsigned starts[kSampleBins];
  allow_next_kernel();
  wait_for_previous_kernel();
  const Slice slice(args);
  const RowChoice choice = args.state.choices[slice.row];
  const unsigned most = most_candidates(choice, args.vocab_size);
  const BinScale scale = scale_of<kThreads>(args, slice.row, choice.temperature);
  find_starts<kThreads>(slice.bins, starts);
  LogitKey* keys = args.keys + static_cast<std::size_t>(slice.row) * static_cast<std::size_t>(args.vocab_size);
  for (int i = slice.begin + static_cast<int>(threadIdx.x); i < slice.end; i += kThreads) {
    const float logit = ranked(slice.logits[i]);
    const int bin = scale.bin(logit);
    if (starts[bin] >= most) continue;
    keys[starts[bin] + atomicAdd(&slice.bins[bin].n_placed, 1U)] = key_of(logit, i);
  }
}

/// Sorts descending, with all threads of the block. A bitonic network in which all comparisons point the same way: what
/// is missing to a power of two would stay at the end, and need not be there.
__device__ void sort_keys(LogitKey* keys, int n) {
  const auto order = [&](int low, int high) {
    if (high >= n) return;
    const LogitKey a = keys[low];
    const LogitKey b = keys[high];
    if (a >= b) return;
    keys[low] = b;
    keys[high] = a;
  };
  for (int run = 2; run < 2 * n; run *= 2) {  // length of the runs that are sorted then
    for (int distance = run / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x);; i += kDrawThreads) {
        const int first = i / distance * 2 * distance;
        const int offset = i % distance;
        if (first + offset >= n) break;
        order(first + offset, distance == run / 2 ? first + run - 1 - offset : first + offset + distance);
      }
    }
  }
  __syncthreads();
}

struct DrawMemory {
  unsigned starts[kSampleBins];  // places of the bins
  double before[kSampleBins];    // weight of the bins ahead
  LogitKey window[kWindow];      // a sorted bin
  int found;
};

/// The candidates of a row in their order. All members are called by every thread of the block with the same arguments,
/// and places count from the best candidate.
class Ranking {
 public:
  __device__ Ranking(const SampleArgs& args, int row, const BinScale& scale, DrawMemory& memory)
      : bins_(args.bins + row * kSampleBins),
        keys_(args.keys + static_cast<std::size_t>(row) * static_cast<std::size_t>(args.vocab_size)),
        n_(static_cast<unsigned>(args.vocab_size)),
        scale_(scale),
        memory_(memory) {
    find_starts<kDrawThreads>(bins_, memory_.starts);
  }

  /// Chooses the weights that the sums below are of.
  __device__ void weigh(WeightSum SampleBin::*sums, float temperature) {
    constexpr int kEach = kSampleBins / kDrawThreads;
    temperature_ = temperature;
    const int first = static_cast<int>(threadIdx.x) * kEach;
    double values[kEach];
    double sum = 0.0;
    for (int i = 0; i < kEach; ++i) sum += values[i] = value_of(bins_[first + i].*sums);
    double before = scan_block<kDrawThreads>(sum, total_);
    for (int i = 0; i < kEach; ++i) {
      memory_.before[first + i] = before;
      before += values[i];
    }
    __syncthreads();
  }

  /// The weight of the best n candidates.
  __device__ double sum_of(unsigned n) {
    if (n >= n_) return total_;
    const int bin = bin_at(n);
    const unsigned inside = n - memory_.starts[bin];
    if (inside == 0) return memory_.before[bin];
    sort_bin(bin);
    double sum = 0.0;
    for (unsigned i = threadIdx.x; i < inside; i += kDrawThreads) sum += weight(sorted_[i]);
    return memory_.before[bin] + reduce_block<kDrawThreads>(sum, Plus{});
  }

  /// The first of the best n candidates at which `reached` holds for the sum of the weights so far; else the last.
  template <class Reached>
  __device__ unsigned find(unsigned n, const Reached& reached) {
    const int bin = find_bin(bin_at(n - 1), reached);
    const unsigned start = memory_.starts[bin];
    const unsigned inside = min(end_of(bin), n) - start;
    sort_bin(bin);
    double before = memory_.before[bin];
    for (unsigned first = 0; first < inside; first += kDrawThreads) {
      const unsigned i = first + threadIdx.x;
      const double own = i < inside ? weight(sorted_[i]) : 0.0;
      double sum = 0.0;
      const double ahead = scan_block<kDrawThreads>(own, sum);
      const int place = first_of(i < inside && reached(before + (ahead + own)), static_cast<int>(i));
      if (place != INT_MAX) return start + static_cast<unsigned>(place);
      before += sum;
    }
    return start + inside - 1;
  }

  /// How many candidates are not below `logit`; exactly only as far as it is less than `most`.
  __device__ unsigned count_from(float logit, unsigned most) {
    const int bin = scale_.bin(logit);
    const unsigned start = memory_.starts[bin];
    if (start >= most) return most;
    unsigned n = 0;
    for (unsigned i = start + threadIdx.x; i < end_of(bin); i += kDrawThreads) n += logit_of(keys_[i]) >= logit ? 1 : 0;
    return start + reduce_block<kDrawThreads>(n, Plus{});
  }

  __device__ int token(unsigned place) {
    const int bin = bin_at(place);
    sort_bin(bin);
    return token_of(sorted_[place - memory_.starts[bin]]);
  }

 private:
  __device__ unsigned end_of(int bin) const { return bin + 1 < kSampleBins ? memory_.starts[bin + 1] : n_; }
  __device__ double weight(LogitKey key) const { return weight_of(logit_of(key), scale_.highest, temperature_); }

  /// The bin that holds the place, or starts there.
  __device__ int bin_at(unsigned place) const {
    int bin = 0;
    for (int step = kSampleBins / 2; step > 0; step /= 2) {
      if (memory_.starts[bin + step] <= place) bin += step;
    }
    return bin;
  }

  /// The lowest number of the threads for which `holds` does, else INT_MAX.
  __device__ int first_of(bool holds, int number) {
    __syncthreads();
    if (threadIdx.x == 0) memory_.found = INT_MAX;
    __syncthreads();
    if (holds) atomicMin(&memory_.found, number);
    __syncthreads();
    return memory_.found;
  }

  /// The first bin behind which `reached` holds for the weight so far, at most `last`.
  template <class Reached>
  __device__ int find_bin(int last, const Reached& reached) {
    constexpr int kEach = kSampleBins / kDrawThreads;
    int own = INT_MAX;
    for (int i = kEach - 1; i >= 0; --i) {
      const int bin = static_cast<int>(threadIdx.x) * kEach + i;
      const bool is_empty = memory_.starts[bin] == end_of(bin);
      if (bin < last && !is_empty && reached(memory_.before[bin + 1])) own = bin;
    }
    return min(first_of(own != INT_MAX, own), last);
  }

  /// Sorts the keys of a bin, unless they are the latest ones that were sorted.
  __device__ void sort_bin(int bin) {
    if (bin == sorted_bin_) return;
    sorted_bin_ = bin;
    sorted_ = keys_ + memory_.starts[bin];
    const auto n = static_cast<int>(end_of(bin) - memory_.starts[bin]);
    if (n <= kWindow) {
      __syncthreads();  // what was in the window
      for (int i = static_cast<int>(threadIdx.x); i < n; i += kDrawThreads) memory_.window[i] = sorted_[i];
      __syncthreads();
      sorted_ = memory_.window;
    }
    sort_keys(sorted_, n);
  }

  const SampleBin* bins_;
  LogitKey* keys_;
  unsigned n_;
  BinScale scale_;
  DrawMemory& memory_;
  float temperature_ = 1.0F;
  double total_ = 0.0;
  int sorted_bin_ = -1;
  LogitKey* sorted_ = nullptr;
};

/// The filters and the draw in the order of runtime/sampler.cpp. Every thread of the block calls it.
__device__ int draw(Ranking& ranking, const RowChoice& choice, float highest, unsigned n, double uniform) {
  if (!isfinite(highest)) n = 1;  // there are no weights
  if (n > 1 && choice.top_p < 1.0F) {
    ranking.weigh(&SampleBin::plain, 1.0F);
    const double threshold = static_cast<double>(choice.top_p) * ranking.sum_of(n);
    n = ranking.find(n, [&](double sum) { return sum >= threshold; }) + 1;
  }
  if (n > 1 && choice.log_min_p > -INFINITY) n = min(n, max(1U, ranking.count_from(highest + choice.log_min_p, n)));
  if (n == 1) return ranking.token(0);
  ranking.weigh(&SampleBin::drawn, choice.temperature);
  const double threshold = uniform * ranking.sum_of(n);
  return ranking.token(ranking.find(n, [&](double sum) { return threshold < sum; }));
}

/// A block for each row.
__global__ void __launch_bounds__(kDrawThreads, 1) draw_kernel(const __grid_constant__ SampleArgs args) {
  __shared__ DrawMemory memory;
  allow_next_kernel();
  wait_for_previous_kernel();
  const auto row = static_cast<int>(blockIdx.x);
  const PassState& state = args.state;
  const RowChoice choice = state.choices[row];
  const BinScale scale = scale_of<kDrawThreads>(args, row, choice.temperature);
  Ranking ranking(args, row, scale, memory);
  const std::uint64_t random = choice.random + kSplitMixStep;
  const int token =
      draw(ranking, choice, scale.highest, most_candidates(choice, args.vocab_size), split_mix_uniform(random));
  __syncthreads();  // all have read the choice
  if (threadIdx.x != 0) return;
  if (choice.temperature > 0.0F) state.choices[row].random = random;
  TokenPlace(state, row, args.n).hand_out(token);
}

}  // namespace

cudaError_t sample(const SampleArgs& args, cudaStream_t stream) {
  const dim3 slices(static_cast<unsigned>(slices_of(args.vocab_size)), static_cast<unsigned>(args.n));
  for (const auto kernel : {survey_kernel, count_kernel, place_kernel}) {
    const cudaError_t error = launch(kernel, slices, dim3(kThreads), 0, stream, args);
    if (error != cudaSuccess) return error;
  }
  return launch(draw_kernel, dim3(slices.y), dim3(kDrawThreads), 0, stream, args);
}

}  // namespace inlay::cuda
