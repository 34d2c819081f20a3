// What a GPU allows the steps of a pass of one row: how long instructions take that products are made of, and how long
// it takes to ask for words that another kernel hands over (cuda/arrival.cuh), by how many warps ask for the same ones.
// Usage: inlay_cuda_limits
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/arrival.cuh"
#include "cuda/async_copy.cuh"
#include "cuda/lane.cuh"
#include "cuda/mma.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/record.hpp"

namespace {

using namespace inlay::cuda;

constexpr int kRounds = 100;
constexpr int kOfRound = 16;  // instructions

void need(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}

/// What a lane works on.
struct State {
  int4 sums = {};
  float4 floats = {};
  uint4 a = {};
  uint2 b = {};
};

// Each depends on the one before it in the same state.
struct TensorBytes {
  static constexpr const char* kName = "mma 16x8x32, bytes";
  __device__ void operator()(State& s) const { mma_bytes<false>(s.sums, s.a, s.b); }
};
struct TensorHalves {
  static constexpr const char* kName = "mma 16x8x16, halves";
  __device__ void operator()(State& s) const { mma_half(s.floats, s.a, s.b); }
};
struct Dot {
  static constexpr const char* kName = "dp4a";
  __device__ void operator()(State& s) const {
    asm volatile("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(s.sums.x) : "r"(s.a.x), "r"(s.b.x));
  }
};
struct Logic {
  static constexpr const char* kName = "lop3";
  __device__ void operator()(State& s) const {
    asm volatile("lop3.b32 %0, %0, %1, %2, 0x6A;" : "+r"(s.sums.x) : "r"(s.a.x), "r"(s.b.x));
  }
};
struct Fused {
  static constexpr const char* kName = "fma";
  __device__ void operator()(State& s) const {
    asm volatile("fma.rn.f32 %0, %0, %1, %2;" : "+f"(s.floats.x) : "f"(s.floats.y), "f"(s.floats.z));
  }
};
struct Reduction {
  static constexpr const char* kName = "redux";
  __device__ void operator()(State& s) const { s.a.y ^= __reduce_max_sync(kAllLanes, s.a.y); }
};

/// kRounds * kOfRound instructions in kStates independent chains; cycles to `cycles`, and something of the results.
template <class Instruction, int kStates>
__global__ void instructions_kernel(long long* cycles, unsigned seed) {
  State states[kStates];
  for (State& s : states) {
    s.a = {seed, seed + threadIdx.x, seed * 3, seed * 5};
    s.b = {seed * 7, seed + 2};
    s.floats = {1.0F, static_cast<float>(seed), 3.0F, 4.0F};
  }
  const Instruction instruction;
  __syncthreads();
  const long long begin = clock64();
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
#pragma unroll
    for (int i = 0; i < kOfRound / kStates; ++i) {
#pragma unroll
      for (State& s : states) instruction(s);
    }
  }
  __syncthreads();
  const long long end = clock64();
  int all = 0;
  for (const State& s : states) all ^= s.sums.x ^ s.sums.w ^ static_cast<int>(s.a.y) ^ __float_as_int(s.floats.x);
  if (threadIdx.x == 0) cycles[0] = end - begin;
  if (all == 0x12345678) cycles[1] = all;  // so that nothing is left out
}

template <class Instruction, int kStates>
double cycles_of(long long* cycles, int warps_of_quarter) {
  long long taken = 0;
  for (int i = 0; i < 3; ++i) {  // the last one counts
    instructions_kernel<Instruction, kStates><<<1, 4 * warps_of_quarter * kWarp>>>(cycles, 3);
    need(cudaGetLastError());
    need(cudaMemcpy(&taken, cycles, sizeof taken, cudaMemcpyDeviceToHost));
  }
  return static_cast<double>(taken) / (kRounds * kOfRound * warps_of_quarter);
}

template <class Instruction>
void print_instruction(long long* cycles) {
  std::printf("%-22s %10.2f %10.2f %10.2f\n", Instruction::kName, cycles_of<Instruction, 1>(cycles, 1),
              cycles_of<Instruction, 4>(cycles, 1), cycles_of<Instruction, 4>(cycles, 4));
}

// 512 bytes by a warp: true where one of the lane's words is absent.
struct StrongWords {
  static constexpr const char* kName = "ld.relaxed, 512 bytes";
  __device__ bool operator()(const std::byte* from, uint4* /*shared*/) const {
    uint4 words;
    load_words(words, from + threadIdx.x % kWarp * sizeof words);
    return is_absent(words);
  }
};
struct StrongWord {
  static constexpr const char* kName = "ld.relaxed, 4 bytes";
  __device__ bool operator()(const std::byte* from, uint4* /*shared*/) const {
    float word = 0.0F;
    load_word(word, from);
    return is_absent(word);
  }
};
struct CopiedWords {
  static constexpr const char* kName = "cp.async, 512 bytes";
  __device__ bool operator()(const std::byte* from, uint4* shared) const {
    const unsigned lane = threadIdx.x % kWarp;
    copy_async<16>(shared + lane, from + lane * 16);
    end_group();
    wait_for_copies();
    return is_absent(shared[lane]);
  }
};

/// Each warp asks kRounds times, one of the records of a row of activations.
constexpr unsigned kPlaces = 8;
template <class Question>
__global__ void questions_kernel(const std::byte* from, long long* cycles) {
  __shared__ uint4 shared[kMostWarps][kWarp];
  const unsigned warp = threadIdx.x / kWarp;
  const Question question;
  int n_absent = 0;
  __syncthreads();
  const long long begin = clock64();
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
    n_absent += __any_sync(kAllLanes, question(from + warp % kPlaces * kStagedBytes, shared[warp])) ? 1 : 0;
  }
  __syncthreads();
  if (threadIdx.x == 0) cycles[blockIdx.x] = n_absent == 0 ? clock64() - begin : 0;
}

template <class Question>
void print_question(const std::byte* from, long long* cycles, int n_processors) {
  std::printf("%-22s", Question::kName);
  for (const int blocks : {1, n_processors / 2, n_processors}) {
    for (const int warps : {1, kMostWarps}) {
      questions_kernel<Question><<<blocks, warps * kWarp>>>(from, cycles);
      need(cudaGetLastError());
      std::vector<long long> taken(static_cast<std::size_t>(blocks));
      need(cudaMemcpy(taken.data(), cycles, taken.size() * sizeof taken[0], cudaMemcpyDeviceToHost));
      double sum = 0.0;
      for (const long long each : taken) sum += static_cast<double>(each);
      std::printf(" %10.0f", sum / blocks / kRounds);
    }
  }
  std::printf("\n");
}

}  // namespace

int main() {
  int n_processors = 0;
  need(cudaDeviceGetAttribute(&n_processors, cudaDevAttrMultiProcessorCount, 0));
  long long* cycles = nullptr;
  need(cudaMalloc(&cycles, (static_cast<std::size_t>(n_processors) + 2) * sizeof *cycles));
  std::byte* words = nullptr;
  constexpr std::size_t kWordsBytes = kPlaces * kStagedBytes;
  need(cudaMalloc(&words, kWordsBytes));
  need(cudaMemset(words, 0, kWordsBytes));

  std::printf("cycles of a quarter of a processor for an instruction of a warp\n");
  std::printf("%-22s %10s %10s %10s\n", "", "dependent", "4 chains", "16 warps");
  print_instruction<TensorBytes>(cycles);
  print_instruction<TensorHalves>(cycles);
  print_instruction<Dot>(cycles);
  print_instruction<Logic>(cycles);
  print_instruction<Fused>(cycles);
  print_instruction<Reduction>(cycles);

  std::printf("\ncycles from asking to the answer, of words in the second cache\n%-22s", "blocks x warps");
  for (const int blocks : {1, n_processors / 2, n_processors}) {
    for (const int warps : {1, kMostWarps}) std::printf(" %7d x%2d", blocks, warps);
  }
  std::printf("\n");
  print_question<StrongWord>(words, cycles, n_processors);
  print_question<StrongWords>(words, cycles, n_processors);
  print_question<CopiedWords>(words, cycles, n_processors);
  need(cudaFree(words));
  need(cudaFree(cycles));
  return 0;
}
