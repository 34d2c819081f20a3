// Makes smaller model files.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <inlay/export.hpp>
#include <inlay/result.hpp>
#include <inlay/types.hpp>

namespace inlay {

/// What to make of a file, and how.
struct QuantizeOptions {
  std::string type{};           ///< what to make, one of `quantize_types`: "Q4_K_M"
  std::int32_t threads = 0;     ///< that encode, the caller's included, 0..1024; 0: one per core of the process
  ParallelFor parallel_for{};   ///< the host's threads instead of inlay's own; `threads` then says how many parts
  ProgressCallback progress{};  ///< kStop ends the call with kCancelled; asked every few million weights
};

/// The types that `quantize` makes, from the largest to the smallest: "F32", "F16", "BF16", "Q8_0" ... "Q2_K_S". Those
/// that end in _L, _M or _S are mixes: the tensors that matter most get a better format.
[[nodiscard]] INLAY_API std::span<const char* const> quantize_types() noexcept;

/// Reads the GGUF file `in_path`, whatever its formats, and writes its model to `out_path` with the matrices in the
/// formats of `options.type`. Norms, biases and all metadata but the file type are copied. The same input and type give
/// the same bytes, whatever the number of threads.
///
/// A file that is quantised already is decoded and encoded again, which adds the errors of both formats; matrices that
/// have the wanted format are copied. Rows that are no whole number of blocks get the next better format with smaller
/// blocks, or F16.
///
/// `out_path` is replaced when everything is written, in one step, and untouched after a failure; it may be `in_path`.
/// Takes some MiB of memory a thread beside the memory-mapped input, which must not change meanwhile. Any architecture
/// is accepted, also those that inlay does not run.
///
/// kInvalidArgument (unknown type, threads out of range), kNotFound, kIoError (also: disk full), kInvalidModel,
/// kUnsupported (a tensor type that inlay does not read), kOutOfMemory, kCancelled. Thread-safe.
[[nodiscard]] INLAY_API Result<void> quantize(const std::string& in_path, const std::string& out_path,
                                              const QuantizeOptions& options) noexcept;

}  // namespace inlay
