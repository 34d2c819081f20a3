// What a GGUF file says about the work of one token: bytes to read and parameters to multiply by.
#pragma once

#include <cstdint>
#include <string>

#include <inlay/result.hpp>

namespace inlay_bench {

struct FileSizes {
  std::uint64_t token_bytes = 0;       ///< read by one decoded token: every tensor, of a separate embedding one row
  std::uint64_t layer_parameters = 0;  ///< of all matrices that every token is multiplied by
  std::uint64_t head_parameters = 0;   ///< of the output matrix, which only tokens whose logits are wanted need
};

/// Reads the header of the file at `path`, which Model::open has accepted. kIoError or kInvalidModel.
inlay::Result<FileSizes> read_file_sizes(const std::string& path);

}  // namespace inlay_bench
