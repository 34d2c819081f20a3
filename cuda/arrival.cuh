// Results that are handed over word by word, while the kernel that makes them still runs. Waiting for a kernel
// (dependent.cuh) takes until its last block has ended, and what it wrote has to be loaded then. A word that is known
// to be missing until it is there can be asked for again and again instead, and has arrived with the answer (the idea
// of NCCL's protocol LL).
//
// The words lie in memory that was filled with kAbsent before (relay.hpp). Whoever writes one makes sure that it is
// another. Words are written and read in one piece, as strong operations of the device (PTX ISA, "Memory Consistency
// Model"); nothing follows from the arrival of a word for other ones.
#pragma once

#include <cuda_runtime.h>

#include "cuda/activations.hpp"

namespace inlay::cuda {

/// A word that may be handed over: the one that cannot becomes the next number.
__device__ __forceinline__ unsigned present(unsigned word) { return word == kAbsent ? kAbsent + 1 : word; }
/// kAbsent is a number close to zero.
__device__ __forceinline__ float present(float x) { return __float_as_uint(x) == kAbsent ? 0.0F : x; }

__device__ __forceinline__ bool is_absent(unsigned word) { return word == kAbsent; }
/// Of a number that is not negative.
__device__ __forceinline__ bool is_absent(unsigned short half) { return half == (kAbsent & 0xFFFFU); }
__device__ __forceinline__ bool is_absent(float x) { return __float_as_uint(x) == kAbsent; }
__device__ __forceinline__ bool is_absent(const uint2& v) { return is_absent(v.x) || is_absent(v.y); }
__device__ __forceinline__ bool is_absent(const float2& v) { return is_absent(v.x) || is_absent(v.y); }
__device__ __forceinline__ bool is_absent(const uint4& v) {
  return is_absent(v.x) | is_absent(v.y) | is_absent(v.z) | is_absent(v.w);  // no branches: it is done all the time
}

// Aligned to their size.
__device__ __forceinline__ void store_word(void* to, unsigned word) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(word) : "memory");
}
__device__ __forceinline__ void store_word(float* to, float x) {
  store_word(static_cast<void*>(to), __float_as_uint(x));
}
__device__ __forceinline__ void store_half(void* to, unsigned short half) {
  asm volatile("st.relaxed.gpu.global.u16 [%0], %1;" ::"l"(to), "h"(half) : "memory");
}
__device__ __forceinline__ void store_words(float2* to, const float2& v) {
  asm volatile("st.relaxed.gpu.global.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(v.x), "f"(v.y) : "memory");
}
__device__ __forceinline__ void store_words(float4* to, const float4& v) {
  asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
               : "memory");
}
__device__ __forceinline__ void load_word(float& x, const void* from) {
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(x) : "l"(from) : "memory");
}
__device__ __forceinline__ void load_word(int& x, const void* from) {
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
}
__device__ __forceinline__ void load_half(unsigned short& half, const void* from) {
  asm volatile("ld.relaxed.gpu.global.u16 %0, [%1];" : "=h"(half) : "l"(from) : "memory");
}
__device__ __forceinline__ void load_words(float2& v, const void* from) {
  asm volatile("ld.relaxed.gpu.global.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(from) : "memory");
}
__device__ __forceinline__ void load_words(uint2& v, const void* from) {
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(from) : "memory");
}
__device__ __forceinline__ void load_words(uint4& v, const void* from) {
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
}

}  // namespace inlay::cuda
