// Activations on their way from a kernel to the next, as integers. Whoever makes them quantises them once; the kernels
// that multiply them load them as operands of the tensor cores.
//
// 32 neighbours (the columns of a step, record.hpp) share a scale: x = scale * (256 coarse + fine), |coarse| <= 127,
// -128 <= fine <= 127, which is 15 bits of the largest of them and a sign. Four neighbours are a word, and no word is
// kAbsent: of four fine parts that are all -128, which rounding hardly ever brings about, the first becomes -127.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/record.hpp"

namespace inlay::cuda {

inline constexpr int kStepOfInput = 32;  // columns
inline constexpr int kStepBytes = 2 * kStepOfInput;

/// A word that is not there yet, of what kernels hand over word by word (arrival.cuh).
inline constexpr std::uint32_t kAbsent = 0x80808080U;

/// Steps of a row of so many columns: those of whole records.
[[nodiscard]] constexpr int input_steps(int n_cols) {
  return (n_cols + kRecordColumns - 1) / kRecordColumns * (kRecordColumns / kStepOfInput);
}

/// Of 32 columns.
struct alignas(16) StepSums {
  float scale = 0.0F;
  float low = 0.0F;      // sum of the first 16 columns, as quantised
  float high = 0.0F;     // of the others
  float squares = 0.0F;  // where a norm follows: of what was quantised, before its weights were multiplied with it
};

/// Rows in device memory. A step has 32 bytes of coarse parts, then 32 of fine ones: operand B of mma.m16n8k32 (PTX ISA
/// section 9.7.15), whose lane t reads columns 4 t ... 4 t + 3 and 16 + 4 t ... 16 + 4 t + 3 as neighbours.
struct QuantisedRows {
  std::byte* words = nullptr;  // [n_rows, n_steps, kStepBytes]
  StepSums* sums = nullptr;    // [n_rows, n_steps]
  int n_steps = 0;             // of a row: whole records; zeros in those that it has no columns for
};

/// One of them.
struct QuantisedStep {
  std::byte* words = nullptr;
  StepSums* sums = nullptr;
};

[[nodiscard]] constexpr QuantisedStep quantised_step(const QuantisedRows& rows, int row, int step) {
  const auto at =
      static_cast<std::size_t>(row) * static_cast<std::size_t>(rows.n_steps) + static_cast<std::size_t>(step);
  return {rows.words + at * kStepBytes, rows.sums + at};
}

}  // namespace inlay::cuda
