// A plan with the file that it points into.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "gguf/gguf.hpp"
#include "model/plan.hpp"

namespace inlay::test {

struct OpenedPlan {
  std::vector<std::byte> bytes;  // of a file made in memory
  std::unique_ptr<MappedFile> mapped;
  Plan plan;
};

inline Plan plan_of(std::span<const std::byte> bytes) {
  auto file = gguf::File::parse(bytes);
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  auto plan = make_plan(*file);
  REQUIRE_MESSAGE(plan.ok(), plan.status().message());
  return *std::move(plan);
}

inline OpenedPlan open_plan(std::vector<std::byte> bytes) {
  Plan plan = plan_of(bytes);
  return {std::move(bytes), nullptr, std::move(plan)};
}

inline OpenedPlan open_plan(const std::string& path) {
  auto mapped = MappedFile::open(path);
  REQUIRE_MESSAGE(mapped.ok(), mapped.status().message());
  auto owned = std::make_unique<MappedFile>(*std::move(mapped));
  Plan plan = plan_of(owned->bytes());
  return {{}, std::move(owned), std::move(plan)};
}

}  // namespace inlay::test
