#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/mapped_file.hpp"

namespace {

namespace fs = std::filesystem;
using inlay::MappedFile;
using inlay::StatusCode;

TEST_CASE("a file's bytes are mapped, and what is no file is refused by name") {
  const fs::path folder = fs::temp_directory_path() / "inlay_test_mapped_file";
  fs::create_directories(folder);
  const std::string path = (folder / "bytes").string();
  std::ofstream(path) << "inlay";

  auto file = MappedFile::open(path);
  REQUIRE(file.ok());
  CHECK(file->bytes().size() == 5);
  CHECK(static_cast<char>(file->bytes()[0]) == 'i');
  const MappedFile moved = *std::move(file);
  CHECK(moved.bytes().size() == 5);

  const auto missing = MappedFile::open(path + ".missing");
  CHECK(missing.code() == StatusCode::kNotFound);
  CHECK(missing.status().message().find("bytes.missing") != std::string::npos);

  const auto directory = MappedFile::open(folder.string());
  CHECK(directory.code() == StatusCode::kIoError);
  CHECK(directory.status().message().find("is a directory") != std::string::npos);

  std::ofstream(path, std::ios::trunc).flush();
  CHECK(MappedFile::open(path).code() == StatusCode::kInvalidModel);
  CHECK(MappedFile::open(std::string("a\0b", 3)).code() == StatusCode::kInvalidArgument);
  fs::remove_all(folder);
}

}  // namespace
