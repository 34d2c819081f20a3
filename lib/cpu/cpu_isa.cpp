#include "cpu/cpu_isa.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace inlay::cpu {
namespace {

struct Candidate {
  const KernelTable* kernels;
  bool usable;
};

#if defined(__x86_64__)

// __builtin_cpu_supports also asks whether the operating system saves the registers.
bool supports_avx2() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
  const bool f16c = (ecx & bit_F16C) != 0;  // not every compiler's __builtin_cpu_supports knows it
  return f16c && __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}

bool supports_avx512() {
  return supports_avx2() && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
         __builtin_cpu_supports("avx512vnni") != 0;
}

/// Linux lets a process use the tiles' large registers when it has asked for them, once.
/// Source: Documentation/arch/x86/xstate.rst of the kernel.
bool may_use_tile_data() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, which older headers lack
  constexpr int kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool supports_amx() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (!supports_avx512() || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kAmxBf16 = 1U << 22U;
  constexpr unsigned kAvx512Fp16 = 1U << 23U;
  constexpr unsigned kAmxTile = 1U << 24U;
  constexpr unsigned kNeeded = kAmxBf16 | kAvx512Fp16 | kAmxTile;
  return (edx & kNeeded) == kNeeded && __builtin_cpu_supports("avx512bf16") != 0 && may_use_tile_data();
}

/// Every table of this build, the fastest first.
std::array<Candidate, 4> candidates() {
  return {{{&amx_kernels(), supports_amx()},
           {&avx512_kernels(), supports_avx512()},
           {&avx2_kernels(), supports_avx2()},
           {&generic_kernels(), true}}};
}

#else

std::array<Candidate, 1> candidates() { return {{{&generic_kernels(), true}}}; }

#endif

}  // namespace

std::vector<const KernelTable*> usable_kernels() {
  std::vector<const KernelTable*> usable;
  for (const Candidate& candidate : candidates()) {
    if (candidate.usable) usable.push_back(candidate.kernels);
  }
  return usable;
}

Result<const KernelTable*> choose_kernels(std::string_view name) {
  std::string names;
  for (const Candidate& candidate : candidates()) {
    if (candidate.kernels->name == name || (name.empty() && candidate.usable)) {
      if (candidate.usable) return candidate.kernels;
      return Status(StatusCode::kUnsupported, "this CPU cannot run the kernels \"" + std::string(name) + "\"");
    }
    names += names.empty() ? "" : ", ";
    names += candidate.kernels->name;
  }
  return Status(StatusCode::kInvalidArgument, "no kernels \"" + std::string(name) + "\"; there are: " + names);
}

std::string cpu_name() {
#if defined(__x86_64__)
  constexpr unsigned kBrandLeaves = 0x80000002U;  // three leaves of 16 characters
  std::array<unsigned, 12> words = {};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned* word = &words[std::size_t{4} * leaf];
    if (__get_cpuid(kBrandLeaves + leaf, word, word + 1, word + 2, word + 3) == 0) return "CPU";
  }
  std::array<char, sizeof(words) + 1> text = {};
  std::memcpy(text.data(), words.data(), sizeof(words));
  const std::string_view padded = text.data();
  const std::size_t first = padded.find_first_not_of(' ');
  if (first == std::string_view::npos) return "CPU";
  return std::string(padded.substr(first, padded.find_last_not_of(' ') + 1 - first));
#else
  return "CPU";
#endif
}

}  // namespace inlay::cpu
