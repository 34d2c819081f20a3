// Files that claim what is not so, one lie each: every refusal has its status and a message that names the thing.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "gguf/gguf.hpp"
#include "gguf/raw_file.hpp"

namespace {

using inlay::StatusCode;
using inlay::gguf::File;
using inlay::gguf::ValueType;
using inlay::test::Bytes;
using inlay::test::RawFile;

constexpr std::uint64_t kHuge = 1ULL << 63U;
constexpr StatusCode kInvalid = StatusCode::kInvalidModel;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;

struct Lie {
  const char* what;
  RawFile file;
  StatusCode code;
  const char* message;  // a part of it
};

void check_lies(const std::vector<Lie>& lies) {
  for (const Lie& lie : lies) {
    const std::string what = lie.what;
    CAPTURE(what);
    const auto file = File::parse(lie.file.bytes());
    REQUIRE(!file.ok());
    const std::string message = file.status().message();
    CAPTURE(message);
    CHECK(file.code() == lie.code);
    CHECK(message.find(lie.message) != std::string::npos);
  }
  MESSAGE("refused " << lies.size() << " lies, each with its message");
}

RawFile start(std::uint64_t n_tensors, std::uint64_t n_metadata, std::uint32_t version = 3) {
  return RawFile().header(n_tensors, n_metadata, version);
}

RawFile one_key(std::string_view name, ValueType type) { return start(0, 1).key(name, type); }

RawFile one_array(std::uint32_t element_type, std::uint64_t count) {
  return one_key("list", ValueType::kArray).u32(element_type).u64(count);
}

RawFile one_tensor(const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset) {
  return start(1, 0).tensor("t", dims, type, offset).align(32).zeros(256);
}

RawFile with_alignment(std::uint64_t alignment) {
  RawFile raw = start(1, 1).key("general.alignment", ValueType::kUint64).u64(alignment);
  return raw.tensor("t", {8}, 0, 0).align(32).zeros(256);
}

TEST_CASE("the skeletons of the lies are valid files") {
  CHECK(File::parse(start(0, 0).bytes()).ok());
  CHECK(File::parse(one_key("k", ValueType::kBool).zeros(1).bytes()).ok());
  CHECK(File::parse(one_array(0, 64).zeros(64).bytes()).ok());
  CHECK(File::parse(one_array(8, 2).string("ok").string("").bytes()).ok());
  CHECK(File::parse(one_tensor({8}, 0, 0).bytes()).ok());
  CHECK(File::parse(one_tensor({64}, 0, 0).bytes()).ok());
  CHECK(File::parse(one_tensor({32, 2, 2, 1}, 2, 32).bytes()).ok());
  CHECK(File::parse(with_alignment(32).bytes()).ok());
}

TEST_CASE("lies of the first bytes and the counts") {
  check_lies({
      {"empty", RawFile(), kInvalid, "GGUF magic: the file ends inside it, after 0 bytes"},
      {"another magic", RawFile().text("GGML").zeros(60), kInvalid, "magic: expected \"GGUF\", found \"GGML\""},
      {"magic of another order", RawFile().text("FUGG").zeros(60), kInvalid,
       "magic: expected \"GGUF\", found \"FUGG\""},
      {"version 0", start(0, 0, 0), kUnsupported, "GGUF version: expected 2 or 3, found 0"},
      {"version 1", start(0, 0, 1), kUnsupported, "GGUF version: expected 2 or 3, found 1"},
      {"version 4", start(0, 0, 4), kUnsupported, "GGUF version: expected 2 or 3, found 4"},
      {"big-endian version 2", start(0, 0, 2U << 24U), kUnsupported,
       "GGUF byte order: expected little-endian, found big-endian"},
      {"big-endian version 3", start(0, 0, 3U << 24U), kUnsupported, "found big-endian"},
      {"2^63 keys", start(0, kHuge).zeros(100), kInvalid,
       "number of metadata keys: expected at most 7 with 100 bytes left, found 9223372036854775808"},
      {"2^64 - 1 keys", start(0, ~0ULL).zeros(100), kInvalid, "number of metadata keys"},
      {"2^20 + 1 keys that would fit", start(0, (1U << 20U) + 1).zeros(std::size_t{16} << 20U), kInvalid,
       "number of metadata keys: expected at most 1048576"},
      {"2^63 tensors", start(kHuge, 0).zeros(100), kInvalid,
       "number of tensors: expected at most 3 with 100 bytes left, found 9223372036854775808"},
      {"counts whose bytes wrap around", start(1ULL << 60U, 1ULL << 61U).zeros(100), kInvalid,
       "number of metadata keys"},
      {"one key too many", start(0, 2).key("k", ValueType::kUint8).zeros(20), kInvalid,
       "metadata entry 1 of 2: its name is empty"},
      {"more tensors than the bytes after the metadata hold",
       start(2, 1).key("k", ValueType::kString).string(std::string(100, 's')).zeros(49), kInvalid,
       "number of tensors: expected at most 1 with 49 bytes left, found 2"},
  });
}

TEST_CASE("lies of metadata keys and values") {
  check_lies({
      {"empty key", start(0, 1).key("", ValueType::kUint8).zeros(9), kInvalid,
       "metadata entry 0 of 1: its name is empty"},
      {"key of 2^64 - 1 bytes", start(0, 1).u64(~0ULL).zeros(32), kInvalid,
       "metadata entry 0 of 1: name length: expected at most 65535 with 32 bytes left, found 18446744073709551615"},
      {"key of 65536 bytes", one_key(std::string(65536, 'k'), ValueType::kUint8).zeros(1), kInvalid, "found 65536"},
      {"the same key twice", start(0, 2).key("k", ValueType::kUint8).zeros(1).key("k", ValueType::kUint16).zeros(2),
       kInvalid, "metadata key \"k\": stands in the file twice"},
      {"unprintable key", one_key("a\n\"\x1B\xFF", static_cast<ValueType>(99)).zeros(8), kInvalid,
       "metadata key \"a\\x0a\\x22\\x1b\\xff\": value type"},
      {"long key", one_key(std::string(300, 'k'), static_cast<ValueType>(99)).zeros(8), kInvalid, "kkk...\": value"},
      {"type 13", one_key("k", static_cast<ValueType>(13)).zeros(16), kInvalid,
       "metadata key \"k\": value type: expected 0 to 12, found 13"},
      {"type 2^32 - 1", one_key("k", static_cast<ValueType>(~0U)).zeros(16), kInvalid, "found 4294967295"},
      {"bool 2", one_key("k", ValueType::kBool).number<std::uint8_t>(2), kInvalid,
       "metadata key \"k\": bool: expected 0 or 1, found 2"},
      {"array of bool 7", one_array(7, 2).zeros(1).number<std::uint8_t>(7), kInvalid,
       "metadata key \"list\": array of bool: expected 0 or 1"},
      {"string past the end", one_key("k", ValueType::kString).u64(10).zeros(9), kInvalid,
       "metadata key \"k\": string length: expected at most the 9 bytes left, found 10"},
      {"string whose end wraps around", one_key("k", ValueType::kString).u64(~0ULL - 7).zeros(9), kInvalid,
       "string length"},
      {"array of 2^60 bytes", one_array(0, 1ULL << 60U).zeros(64), kInvalid,
       "metadata key \"list\": array length: expected at most 64 with 64 bytes left, found 1152921504606846976"},
      {"array whose bytes wrap around to 0", one_array(10, 1ULL << 61U).zeros(64), kInvalid,
       "array length: expected at most 8"},
      {"array whose bytes wrap around to 8", one_array(10, (1ULL << 61U) + 1).zeros(64), kInvalid,
       "array length: expected at most 8"},
      {"array of 2^60 strings", one_array(8, 1ULL << 60U).zeros(64), kInvalid,
       "array length: expected at most 8 strings"},
      {"array of strings past the end", one_array(8, 2).string("ok").u64(100).zeros(8), kInvalid,
       "metadata key \"list\": string length: expected at most the 8 bytes left, found 100"},
      {"array of arrays", one_array(9, 1).u32(0).u64(1).zeros(8), kUnsupported,
       "metadata key \"list\": an array of arrays"},
      {"array of type 13", one_array(13, 1).zeros(16), kInvalid, "array element type: expected 0 to 12, found 13"},
      {"split.count as a string", one_key("split.count", ValueType::kString).string("2"), kInvalid,
       "metadata key \"split.count\": expected an integer, found string"},
  });
}

TEST_CASE("lies of the alignment") {
  check_lies({
      {"a string", one_key("general.alignment", ValueType::kString).string("32"), kInvalid,
       "metadata key \"general.alignment\": expected an integer, found string"},
      {"0", with_alignment(0), kInvalid,
       "metadata key \"general.alignment\": expected a power of two from 8 to 65536, found 0"},
      {"1", with_alignment(1), kInvalid, "found 1"},
      {"3", with_alignment(3), kInvalid, "found 3"},
      {"48", with_alignment(48), kInvalid, "found 48"},
      {"2^17", with_alignment(1U << 17U), kInvalid, "found 131072"},
      {"2^62", with_alignment(1ULL << 62U), kInvalid, "found 4611686018427387904"},
      {"2^63", with_alignment(kHuge), kInvalid, "outside the signed 64-bit range"},
      {"-32", start(0, 1).key("general.alignment", ValueType::kInt32).number<std::int32_t>(-32), kInvalid, "found -32"},
  });
}

TEST_CASE("lies of tensors' names, shapes and types") {
  check_lies({
      {"empty name", start(1, 0).tensor("", {8}, 0, 0).align(32).zeros(64), kInvalid,
       "tensor 0 of 1: its name is empty"},
      {"name of 65 bytes", start(1, 0).tensor(std::string(65, 'n'), {8}, 0, 0).align(32).zeros(64), kInvalid,
       "tensor 0 of 1: name length: expected at most 64"},
      {"the same name twice", start(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).align(32).zeros(64), kInvalid,
       "tensor \"t\": stands in the file twice"},
      {"no dimensions", one_tensor({}, 0, 0), kInvalid, "tensor \"t\": number of dimensions: expected 1 to 4, found 0"},
      {"five dimensions", one_tensor({1, 1, 1, 1, 1}, 0, 0), kInvalid, "found 5"},
      {"2^32 - 1 dimensions", start(1, 0).string("t").u32(~0U).zeros(100), kInvalid, "found 4294967295"},
      {"a dimension of 0", one_tensor({8, 0}, 0, 0), kInvalid,
       "tensor \"t\": dimension 1: expected at least 1, found 0"},
      {"2^32 * 2^32 weights", one_tensor({1ULL << 32U, 1ULL << 32U}, 0, 0), kInvalid,
       "tensor \"t\": size of F32: expected at most the file's"},
      {"weights that wrap around to 8", one_tensor({8, (1ULL << 61U) + 1}, 0, 0), kInvalid,
       "shape [8, 2305843009213693953]"},
      {"four factors that wrap around to 0", one_tensor({65536, 65536, 65536, 65536}, 0, 0), kInvalid,
       "shape [65536, 65536, 65536, 65536]"},
      {"bytes that wrap around to 0", one_tensor({1ULL << 62U}, 0, 0), kInvalid, "size of F32"},
      {"bytes that wrap around to 4", one_tensor({(1ULL << 62U) + 1}, 0, 0), kInvalid, "size of F32"},
      {"a row of half a block", one_tensor({16}, 2, 0), kInvalid,
       "tensor \"t\": row length of Q4_0: expected a multiple of 32, found 16"},
      {"rows of half a block that make a whole one", one_tensor({128, 2}, 12, 0), kInvalid,
       "tensor \"t\": row length of Q4_K: expected a multiple of 256, found 128"},
      {"type 4", one_tensor({32}, 4, 0), kUnsupported,
       "tensor \"t\": expected one of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, "
       "found type 4"},
      {"type 2^32 - 1", one_tensor({32}, ~0U, 0), kUnsupported, "found type 4294967295"},
  });
}

TEST_CASE("lies of where the tensors' data are") {
  check_lies({
      {"larger than the file", one_tensor({65}, 0, 0), kInvalid,
       "tensor \"t\": data: expected to end by byte 256 of the tensor data, found 260 bytes at offset 0"},
      {"an offset between alignments", one_tensor({8}, 0, 4), kInvalid,
       "tensor \"t\": offset: expected a multiple of 32, found 4"},
      {"an offset at the end", one_tensor({8}, 0, 256), kInvalid, "found 32 bytes at offset 256"},
      {"an end that wraps around to 0", one_tensor({8}, 0, ~0ULL - 31), kInvalid,
       "found 32 bytes at offset 18446744073709551584"},
      {"an offset of 2^63", one_tensor({8}, 0, kHuge), kInvalid, "found 32 bytes at offset 9223372036854775808"},
      {"two tensors on the same bytes", start(2, 0).tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).align(32).zeros(64),
       kInvalid, "tensor \"b\": expected data of its own, found bytes shared with tensor \"a\""},
      {"no data at all", start(1, 0).tensor("t", {8}, 0, 0), kInvalid,
       "padding ahead of the tensor data: the file ends inside it"},
  });
}

}  // namespace
