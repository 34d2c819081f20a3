#include "support/temp_dir.hpp"

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace inlay::test {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / ("inlay-test-" + std::string(6, 'X'))).string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make the directory " + name);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;  // a file that cannot be removed must not hide the test's own failure
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::write(const std::string& name, std::span<const std::byte> bytes) const {
  std::string path = file(name);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path);
  return path;
}

}  // namespace inlay::test
