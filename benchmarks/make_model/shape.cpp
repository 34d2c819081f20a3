#include "shape.hpp"

#include <algorithm>
#include <array>

namespace make_model {
namespace {

// From the models' published configurations. "tiny" has rows of 320 weights, which are no whole number of super blocks.
constexpr std::array kShapes = {
    Shape{"tinyllama", 22, 2048, 5632, 32, 4, 32000, 2048, 1e4F, 1e-5F, Head::kOwn},
    Shape{"llama2-7b", 32, 4096, 11008, 32, 32, 32000, 4096, 1e4F, 1e-5F, Head::kOwn},
    Shape{"smollm2", 30, 576, 1536, 9, 3, 49152, 8192, 1e5F, 1e-5F, Head::kTied},
    Shape{"tiny", 4, 320, 768, 5, 1, 2048, 512, 1e4F, 1e-5F, Head::kOwn},
};

}  // namespace

std::span<const Shape> all_shapes() { return kShapes; }

const Shape* find_shape(std::string_view name) {
  const auto* found =
      std::find_if(kShapes.begin(), kShapes.end(), [&](const Shape& shape) { return shape.name == name; });
  return found == kShapes.end() ? nullptr : found;
}

}  // namespace make_model
