#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.hpp"
#include "gguf/raw_file.hpp"
#include "gguf/writer.hpp"
#include "support/tiny_model.hpp"

namespace {

using inlay::Format;
using inlay::StatusCode;
using inlay::gguf::File;
using inlay::gguf::ValueType;
using inlay::gguf::Writer;
using inlay::test::Bytes;
using inlay::test::RawFile;

File parsed(const Bytes& bytes) {
  auto file = File::parse(bytes);
  INFO(file.status().message());
  REQUIRE(file.ok());
  return std::move(file).value();
}

/// One scalar key of each type, then one array of each element type but int64.
RawFile every_type(std::uint32_t version) {
  RawFile raw;
  raw.header(0, 23, version);
  raw.key("u8", ValueType::kUint8).number<std::uint8_t>(200);
  raw.key("i8", ValueType::kInt8).number<std::int8_t>(-100);
  raw.key("u16", ValueType::kUint16).number<std::uint16_t>(60000);
  raw.key("i16", ValueType::kInt16).number<std::int16_t>(-30000);
  raw.key("u32", ValueType::kUint32).number<std::uint32_t>(4000000000U);
  raw.key("i32", ValueType::kInt32).number<std::int32_t>(-2000000000);
  raw.key("f32", ValueType::kFloat32).number<float>(1.5F);
  raw.key("bool", ValueType::kBool).number<std::uint8_t>(1);
  raw.key("string", ValueType::kString).string("some text");
  raw.key("u64", ValueType::kUint64).number<std::uint64_t>(1ULL << 62U);
  raw.key("i64", ValueType::kInt64).number<std::int64_t>(std::numeric_limits<std::int64_t>::min());
  raw.key("f64", ValueType::kFloat64).number<double>(-2.25);
  const auto array = [&raw](std::string_view name, ValueType type, std::uint64_t count) -> RawFile& {
    return raw.key(name, ValueType::kArray).u32(static_cast<std::uint32_t>(type)).u64(count);
  };
  array("u8s", ValueType::kUint8, 2).number<std::uint8_t>(1).number<std::uint8_t>(255);
  array("i8s", ValueType::kInt8, 2).number<std::int8_t>(1).number<std::int8_t>(-128);
  array("u16s", ValueType::kUint16, 1).number<std::uint16_t>(65535);
  array("i16s", ValueType::kInt16, 1).number<std::int16_t>(-32768);
  array("u32s", ValueType::kUint32, 1).number<std::uint32_t>(4294967295U);
  array("i32s", ValueType::kInt32, 3).number(1).number(-2).number(3);
  array("f32s", ValueType::kFloat32, 2).number(0.5F).number(-0.5F);
  array("bools", ValueType::kBool, 2).number<std::uint8_t>(0).number<std::uint8_t>(1);
  array("strings", ValueType::kString, 3).string("a").string("").string("\xF0\x9F\x98\x80 \xFF");
  array("u64s", ValueType::kUint64, 2).number<std::uint64_t>(5).number<std::uint64_t>(~0ULL);
  array("f64s", ValueType::kFloat64, 1).number(0.25);
  return raw;
}

TEST_CASE("every metadata type reads back, in versions 2 and 3") {
  for (const std::uint32_t version : {2U, 3U}) {
    const RawFile raw = every_type(version);
    const File file = parsed(raw.bytes());
    CHECK(file.version() == version);
    CHECK(file.alignment() == 32);
    CHECK(file.metadata().size() == 23);
    CHECK(file.tensors().empty());
    CHECK(file.metadata()[0].first == "u8");
    CHECK(file.metadata()[22].first == "f64s");

    CHECK(**file.find_integer("u8") == 200);
    CHECK(**file.find_integer("i8") == -100);
    CHECK(**file.find_integer("u16") == 60000);
    CHECK(**file.find_integer("i16") == -30000);
    CHECK(**file.find_integer("u32") == 4000000000LL);
    CHECK(**file.find_integer("i32") == -2000000000LL);
    CHECK(**file.find_integer("u64") == (1LL << 62));
    CHECK(**file.find_integer("i64") == std::numeric_limits<std::int64_t>::min());
    CHECK(**file.find_float("f32") == 1.5);
    CHECK(**file.find_float("f64") == -2.25);
    CHECK(**file.find_bool("bool"));
    CHECK(**file.find_string("string") == "some text");

    using Integers = std::vector<std::int64_t>;
    CHECK(**file.find_integers("u8s") == Integers{1, 255});
    CHECK(**file.find_integers("i8s") == Integers{1, -128});
    CHECK(**file.find_integers("u16s") == Integers{65535});
    CHECK(**file.find_integers("i16s") == Integers{-32768});
    CHECK(**file.find_integers("u32s") == Integers{4294967295LL});
    CHECK(**file.find_integers("i32s") == Integers{1, -2, 3});
    CHECK(**file.find_floats("f32s") == std::vector<float>{0.5F, -0.5F});
    CHECK(**file.find_floats("f64s") == std::vector<float>{0.25F});
    CHECK(**file.find_strings("strings") == std::vector<std::string_view>{"a", "", "\xF0\x9F\x98\x80 \xFF"});
  }
}

TEST_CASE("an absent key is no error and no value") {
  const RawFile raw = every_type(3);
  const File file = parsed(raw.bytes());
  for (const std::string_view key : {"absent", "", "u", "u8ss", "zzz"}) {
    CHECK(file.find(key) == nullptr);
    CHECK(file.find_tensor(key) == nullptr);
    CHECK(!file.find_integer(key)->has_value());
    CHECK(!file.find_float(key)->has_value());
    CHECK(!file.find_bool(key)->has_value());
    CHECK(!file.find_string(key)->has_value());
    CHECK(!file.find_strings(key)->has_value());
    CHECK(!file.find_floats(key)->has_value());
    CHECK(!file.find_integers(key)->has_value());
  }
}

TEST_CASE("a value of another type is refused by every read, with both types in the message") {
  const RawFile raw = every_type(3);
  const File file = parsed(raw.bytes());
  int refused = 0;
  const auto check = [&](const auto& result, bool readable) {
    CHECK(result.ok() == readable);
    if (readable) return;
    CHECK(result.code() == StatusCode::kInvalidModel);
    ++refused;
  };
  for (const auto& [key, value] : file.metadata()) {
    const std::string name(key);
    CAPTURE(name);
    const bool is_array = value.type == ValueType::kArray;
    const ValueType type = is_array ? value.element_type : value.type;
    const bool is_float = type == ValueType::kFloat32 || type == ValueType::kFloat64;
    const bool is_integer = !is_float && type != ValueType::kBool && type != ValueType::kString;
    check(file.find_integer(key), !is_array && is_integer);
    check(file.find_float(key), !is_array && is_float);
    check(file.find_bool(key), !is_array && type == ValueType::kBool);
    check(file.find_string(key), !is_array && type == ValueType::kString);
    check(file.find_strings(key), is_array && type == ValueType::kString);
    check(file.find_floats(key), is_array && is_float);
    check(file.find_integers(key), is_array && is_integer && key != "u64s");  // 2^64 - 1 does not fit
  }
  CHECK(file.find_string("u8").status().message() == "metadata key \"u8\": expected string, found uint8");
  CHECK(file.find_integers("bools").status().message() ==
        "metadata key \"bools\": expected array of an integer type, found array of bool");
  CHECK(file.find_floats("f32").status().message() ==
        "metadata key \"f32\": expected array of float32 or float64, found float32");
  MESSAGE("refused " << refused << " reads of another type");
}

TEST_CASE("an integer beyond 63 bits is an error, not a wrap-around") {
  RawFile raw;
  raw.header(0, 1).key("big", ValueType::kUint64).u64(1ULL << 63U);
  const auto result = parsed(raw.bytes()).find_integer("big");
  CHECK(result.code() == StatusCode::kInvalidModel);
  CHECK(result.status().message() ==
        "metadata key \"big\": expected an integer, found a number outside the signed 64-bit range");
}

TEST_CASE("names of value types") {
  CHECK(std::string(to_string(ValueType::kUint8)) == "uint8");
  CHECK(std::string(to_string(ValueType::kFloat64)) == "float64");
  CHECK(std::string(to_string(static_cast<ValueType>(13))) == "unknown");
}

TEST_CASE("tensors of every format have exactly their bytes") {
  Writer writer;
  std::size_t total = 0;
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    const std::uint64_t n_in = Traits::block_weights * 2;
    const Bytes data(inlay::row_bytes(Traits::format, n_in) * 3, static_cast<std::byte>(total));
    writer.add_tensor(Traits::name, Traits::format, {n_in, 3}, data);
    ++total;
  });
  const Bytes bytes = writer.finish();
  const File file = parsed(bytes);
  REQUIRE(file.tensors().size() == total);
  std::size_t position = 0;
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    const auto* tensor = file.find_tensor(Traits::name);
    REQUIRE(tensor == &file.tensors()[position]);
    CHECK(tensor->format == Traits::format);
    CHECK(tensor->n_dims == 2);
    CHECK(tensor->dims == std::array<std::uint64_t, 4>{Traits::block_weights * 2, 3, 1, 1});
    CHECK(tensor->data.size() == std::size_t{6} * Traits::block_bytes);
    CHECK((tensor->data.data() - bytes.data()) % 32 == 0);
    for (const std::byte byte : tensor->data) REQUIRE(byte == static_cast<std::byte>(position));
    ++position;
  });
  MESSAGE("placed tensors of " << total << " formats");
}

TEST_CASE("a tensor may have one to four dimensions and the last may end with the file") {
  RawFile raw;
  raw.header(4, 0);
  raw.tensor("one", {8}, 0, 0).tensor("two", {4, 2}, 0, 32).tensor("three", {2, 2, 2}, 0, 64);
  raw.tensor("four", {1, 2, 3, 1}, 0, 96).align(32).zeros(96 + 24);
  const File file = parsed(raw.bytes());
  CHECK(file.find_tensor("one")->n_dims == 1);
  CHECK(file.find_tensor("three")->dims == std::array<std::uint64_t, 4>{2, 2, 2, 1});
  CHECK(file.find_tensor("four")->n_dims == 4);
  CHECK(file.find_tensor("four")->data.size() == 24);
  CHECK(file.find_tensor("four")->data.data() + 24 == raw.bytes().data() + raw.bytes().size());
}

TEST_CASE("tensors may stand in any order in the data, with gaps") {
  RawFile raw;
  raw.header(2, 0).tensor("late", {8}, 0, 96).tensor("early", {8}, 0, 0).align(32).zeros(128);
  const File file = parsed(raw.bytes());
  CHECK(file.find_tensor("late")->data.data() - file.find_tensor("early")->data.data() == 96);
}

TEST_CASE("general.alignment places the tensors") {
  for (const std::uint32_t alignment : {8U, 16U, 64U, 4096U, 65536U}) {
    CAPTURE(alignment);
    Writer writer;
    writer.add_uint32("general.alignment", alignment);
    const Bytes data(40, std::byte{7});
    writer.add_tensor("a", Format::kF32, {10}, data);
    writer.add_tensor("b", Format::kF32, {10}, data);
    const Bytes bytes = writer.finish();
    const File file = parsed(bytes);
    CHECK(file.alignment() == alignment);
    for (const auto& tensor : file.tensors()) {
      CHECK(static_cast<std::size_t>(tensor.data.data() - bytes.data()) % alignment == 0);
      CHECK(tensor.data.front() == std::byte{7});
      CHECK(tensor.data.back() == std::byte{7});
    }
  }
}

TEST_CASE("one part of a split model is refused, an unsplit one is not") {
  RawFile whole;
  whole.header(0, 1).key("split.count", ValueType::kUint16).number<std::uint16_t>(1);
  CHECK(File::parse(whole.bytes()).ok());
  RawFile part;
  part.header(0, 1).key("split.count", ValueType::kUint16).number<std::uint16_t>(3);
  const auto result = File::parse(part.bytes());
  CHECK(result.code() == StatusCode::kUnsupported);
  CHECK(result.status().message() ==
        "metadata key \"split.count\": expected one file, found one of 3 parts (merge them first)");
}

TEST_CASE("a tiny model is a complete file") {
  inlay::test::TinyModelOptions options;
  options.embedding_length = 256;
  options.feed_forward_length = 512;
  options.head_size = 64;
  options.attention_biases = true;
  options.feed_forward_biases = true;
  options.rope_factors = true;
  options.rope_scaling_type = "yarn";
  options.formats = inlay::test::TinyModelFormats::all(Format::kQ4_K);
  const Bytes bytes = inlay::test::make_tiny_model(options);
  CHECK(bytes == inlay::test::make_tiny_model(options));
  const File file = parsed(bytes);
  CHECK(**file.find_string("general.architecture") == "llama");
  CHECK(**file.find_integer("llama.attention.key_length") == 64);
  CHECK(**file.find_string("llama.rope.scaling.type") == "yarn");
  CHECK((*file.find_strings("tokenizer.ggml.tokens"))->size() == 320);
  CHECK((*file.find_floats("tokenizer.ggml.scores"))->size() == 320);
  CHECK((*file.find_integers("tokenizer.ggml.token_type"))->size() == 320);
  // 9 weights and 7 biases a layer; embedding, norm, head and frequency factors.
  CHECK(file.tensors().size() == 2 * 16 + 4);
  CHECK(file.find_tensor("blk.1.attn_output.weight")->dims == std::array<std::uint64_t, 4>{256, 256, 1, 1});
  CHECK(file.find_tensor("blk.1.attn_k.weight")->dims == std::array<std::uint64_t, 4>{256, 128, 1, 1});
  CHECK(file.find_tensor("rope_freqs.weight")->dims[0] == 32);

  options.head = inlay::test::TinyHead::kTied;
  const Bytes tied = inlay::test::make_tiny_model(options);
  CHECK(parsed(tied).find_tensor("output.weight") == nullptr);
  options.embedding_length = 64;
  CHECK_THROWS_AS(inlay::test::make_tiny_model(options), std::invalid_argument);
}

}  // namespace
