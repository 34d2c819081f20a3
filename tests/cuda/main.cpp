// The tests of the CUDA backend; exits with 77 (skipped) where no device is usable.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "runtime/registry.hpp"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  const auto devices = inlay::find_backend(inlay::DeviceKind::kCuda)->devices();
  if (devices.empty()) {
    std::puts("skipped: no usable CUDA device");
    return kSkipped;
  }
  std::printf("on %s (%s)\n", devices.front().name.c_str(), devices.front().isa.c_str());
  return doctest::Context(argc, argv).run();
}
