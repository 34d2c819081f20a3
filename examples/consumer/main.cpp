// Uses the C++ API of an installed inlay; needs no model.
#include <cstdio>
#include <inlay/inlay.hpp>

int main() {
  const auto model = inlay::Model::open("no such model.gguf");
  std::printf("inlay %s, %zu devices, %s\n", inlay::version_string(), inlay::devices().size(),
              model.status().message().c_str());
  return model.code() == inlay::StatusCode::kNotFound ? 0 : 1;
}
