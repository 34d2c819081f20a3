#include "model/arch_table.hpp"

#include <array>

namespace inlay {
namespace {

constexpr std::array kArchTable = {
    ArchRow{.name = "llama", .rope = RopeKind::kNormal, .activation = Activation::kSilu},
};

}  // namespace

std::span<const ArchRow> arch_table() noexcept { return kArchTable; }

const ArchRow* find_arch(std::string_view name) noexcept {
  for (const ArchRow& row : kArchTable) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace inlay
