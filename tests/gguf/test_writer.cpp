#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "gguf/gguf.hpp"
#include "gguf/writer.hpp"
#include "support/temp_dir.hpp"

namespace {

using inlay::Format;
using inlay::gguf::File;
using inlay::gguf::Writer;
using Bytes = std::vector<std::byte>;

Writer sample_writer() {
  Writer writer;
  writer.add_uint32("u32", 7);
  writer.add_int32("i32", -7);
  writer.add_uint64("u64", 1ULL << 40U);
  writer.add_float32("f32", 0.1F);
  writer.add_bool("yes", true);
  writer.add_bool("no", false);
  writer.add_string("string", "text");
  writer.add_strings("strings", std::vector<std::string>{"a", "", "ccc"});
  writer.add_float32s("f32s", std::vector<float>{1.0F, 2.0F});
  writer.add_int32s("i32s", std::vector<std::int32_t>{-1, 2, -3});
  writer.add_strings("nothing", {});
  writer.add_tensor("odd", Format::kF16, {3}, Bytes(6, std::byte{1}));
  writer.add_tensor("next", Format::kQ8_0, {32, 2}, Bytes(68, std::byte{2}));
  return writer;
}

TEST_CASE("what is written reads back") {
  const Bytes bytes = sample_writer().finish();
  const auto file = File::parse(bytes);
  INFO(file.status().message());
  REQUIRE(file.ok());
  CHECK(file->version() == 3);
  CHECK(file->metadata().size() == 11);
  CHECK(**file->find_integer("u32") == 7);
  CHECK(**file->find_integer("i32") == -7);
  CHECK(**file->find_integer("u64") == 1LL << 40);
  CHECK(**file->find_float("f32") == static_cast<double>(0.1F));
  CHECK(**file->find_bool("yes"));
  CHECK(!**file->find_bool("no"));
  CHECK(**file->find_string("string") == "text");
  CHECK(**file->find_strings("strings") == std::vector<std::string_view>{"a", "", "ccc"});
  CHECK(**file->find_floats("f32s") == std::vector<float>{1.0F, 2.0F});
  CHECK(**file->find_integers("i32s") == std::vector<std::int64_t>{-1, 2, -3});
  CHECK((*file->find_strings("nothing"))->empty());
  CHECK(file->find_tensor("odd")->data.size() == 6);
  CHECK(file->find_tensor("next")->data.size() == 68);
  CHECK(file->find_tensor("next")->data[67] == std::byte{2});
}

TEST_CASE("copying every value and tensor of a file gives the same bytes") {
  const Bytes bytes = sample_writer().finish();
  const auto file = File::parse(bytes);
  REQUIRE(file.ok());
  Writer copy;
  for (const auto& [key, value] : file->metadata()) copy.add(key, value);
  for (const auto& tensor : file->tensors()) {
    const auto dims = std::span(tensor.dims).first(static_cast<std::size_t>(tensor.n_dims));
    copy.add_tensor(tensor.name, tensor.format, dims, Bytes(tensor.data.begin(), tensor.data.end()));
  }
  CHECK(copy.finish() == bytes);
}

TEST_CASE("a file without tensors ends with its metadata") {
  Writer writer;
  writer.add_bool("b", true);
  const Bytes bytes = writer.finish();
  CHECK(bytes.size() == 24 + 8 + 1 + 4 + 1);
  CHECK(File::parse(bytes).ok());
  CHECK(Writer().finish().size() == 24);
}

TEST_CASE("a malformed alignment is written but not followed") {
  for (const std::uint32_t alignment : {0U, 3U, 1U << 31U}) {
    Writer writer;
    writer.add_uint32("general.alignment", alignment);
    writer.add_tensor("t", Format::kF32, {1}, Bytes(4));
    const Bytes bytes = writer.finish();
    CHECK(bytes.size() % 32 == 0);
    CHECK(bytes.size() < 256);
    CHECK(File::parse(bytes).code() == inlay::StatusCode::kInvalidModel);
  }
}

std::size_t count_files(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

TEST_CASE("write puts the whole file in place and nothing beside it") {
  const inlay::test::TempDir folder;
  const std::string path = folder.file("model.gguf");
  const Writer writer = sample_writer();
  for (int i = 0; i < 2; ++i) {  // the second replaces the first
    const auto result = writer.write(path);
    INFO(result.status().message());
    REQUIRE(result.ok());
    const auto map = inlay::MappedFile::open(path);
    REQUIRE(map.ok());
    const Bytes expected = writer.finish();
    CHECK(std::equal(expected.begin(), expected.end(), map->bytes().begin(), map->bytes().end()));
    CHECK(count_files(folder.path()) == 1);
  }
}

TEST_CASE("write leaves the part files of others alone") {
  const inlay::test::TempDir folder;
  const std::string other = folder.write("model.gguf.part0", Bytes(3));
  REQUIRE(sample_writer().write(folder.file("model.gguf")).ok());
  CHECK(std::filesystem::file_size(other) == 3);
  CHECK(count_files(folder.path()) == 2);
}

TEST_CASE("write reports what the system refuses and leaves nothing") {
  const inlay::test::TempDir folder;
  const auto missing = sample_writer().write(folder.file("no/such/folder.gguf"));
  CHECK(missing.code() == inlay::StatusCode::kIoError);
  CHECK(missing.status().message().find("no/such/folder.gguf\": No such file") != std::string::npos);

  std::filesystem::create_directory(folder.path() / "taken");
  const auto taken = sample_writer().write(folder.file("taken"));  // a directory cannot be replaced by a file
  CHECK(taken.code() == inlay::StatusCode::kIoError);
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("streamed tensors give the same file, whatever the pieces") {
  const inlay::test::TempDir folder;
  const std::string path = folder.file("model.gguf");
  const std::vector<std::size_t> lengths = {7, 0, 64, 5};  // weights: the padding differs
  Bytes data;
  Writer whole;
  Writer declared;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const Bytes bytes(lengths[i] * sizeof(float), static_cast<std::byte>(i + 1));
    const std::vector<std::uint64_t> dims = {lengths[i]};
    whole.add_tensor("t" + std::to_string(i), Format::kF32, dims, bytes);
    declared.declare_tensor("t" + std::to_string(i), Format::kF32, dims);
    data.insert(data.end(), bytes.begin(), bytes.end());
  }
  const Bytes expected = whole.finish();
  for (const std::size_t piece : {std::size_t{1}, std::size_t{28}, std::size_t{100}, data.size()}) {
    auto stream = declared.begin(path);
    REQUIRE(stream.ok());
    for (std::size_t begin = 0; begin < data.size(); begin += piece) {
      REQUIRE(stream->write(std::span(data).subspan(begin, std::min(piece, data.size() - begin))).ok());
    }
    REQUIRE(stream->finish().ok());
    const auto map = inlay::MappedFile::open(path);
    REQUIRE(map.ok());
    CHECK(std::equal(expected.begin(), expected.end(), map->bytes().begin(), map->bytes().end()));
  }
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("a stream with too few or too many bytes makes no file") {
  const inlay::test::TempDir folder;
  Writer writer;
  const std::vector<std::uint64_t> dims = {4};
  writer.declare_tensor("t", Format::kF32, dims);
  for (const std::size_t size : {std::size_t{0}, std::size_t{15}, std::size_t{17}}) {
    auto stream = writer.begin(folder.file("model.gguf"));
    REQUIRE(stream.ok());
    const bool written = stream->write(Bytes(size)).ok();
    CHECK(written == (size <= 16));
    if (written) CHECK(stream->finish().code() == inlay::StatusCode::kInternal);
  }
  CHECK(count_files(folder.path()) == 0);
}

}  // namespace
