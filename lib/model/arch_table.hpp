// One row per model architecture: everything that the code knows about architectures by name.
#pragma once

#include <span>
#include <string_view>

#include "model/model_kinds.hpp"

namespace inlay {

/// What the files of an architecture have in common. What varies from file to file (sizes, biases, own or tied head,
/// frequency factors) is found in the file.
struct ArchRow {
  std::string_view name;  // general.architecture, also the prefix of its metadata keys
  RopeKind rope = RopeKind::kNormal;
  Activation activation = Activation::kSilu;
};

/// Every architecture that inlay runs.
std::span<const ArchRow> arch_table() noexcept;

/// Null for an unknown architecture.
const ArchRow* find_arch(std::string_view name) noexcept;

}  // namespace inlay
