#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "cpu/cpu_isa.hpp"

namespace {

using namespace inlay;

TEST_CASE("there is always a usable table, the generic one last") {
  const auto tables = cpu::usable_kernels();
  REQUIRE(!tables.empty());
  CHECK(std::strcmp(tables.back()->name, "generic") == 0);
  std::string names;
  for (const cpu::KernelTable* table : tables) {
    names += std::string(" ") + table->name;
    for (const auto matmul : table->matmul) CHECK((matmul != nullptr));
    CHECK((table->quantize != nullptr));
    CHECK((table->rms_norm != nullptr));
    CHECK((table->rope != nullptr));
    CHECK((table->gated_activation != nullptr));
    CHECK((table->add != nullptr));
    CHECK((table->store_half != nullptr));
    CHECK((table->attend != nullptr));
    CHECK(*cpu::choose_kernels(table->name) == table);
  }
  CHECK(*cpu::choose_kernels("") == tables.front());
  CHECK(!cpu::cpu_name().empty());
  MESSAGE(cpu::cpu_name(), ":", names);
}

TEST_CASE("an unknown table is an error that lists the known ones") {
  const auto chosen = cpu::choose_kernels("mmx");
  REQUIRE(!chosen.ok());
  CHECK(chosen.code() == StatusCode::kInvalidArgument);
  CHECK(chosen.status().message().find("mmx") != std::string::npos);
  CHECK(chosen.status().message().find("generic") != std::string::npos);
}

}  // namespace
