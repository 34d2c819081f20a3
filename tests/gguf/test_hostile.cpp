// Damaged files: a status, or a file whose every view is inside the bytes, never a crash. Meant for the sanitizers,
// which see what a plain build would get away with.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <tuple>
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

bool is_inside(std::span<const std::byte> view, std::span<const std::byte> whole) {
  if (view.empty()) return true;
  const std::less_equal<> not_after;
  return not_after(whole.data(), view.data()) && not_after(view.data() + view.size(), whole.data() + whole.size());
}

/// Reads the bytes of every view that a file hands out.
class Walker {
 public:
  explicit Walker(std::span<const std::byte> whole) : whole_(whole) {}

  void walk(const File& file) {
    for (const auto& [key, value] : file.metadata()) {
      read(key);
      read(value.bytes);
      if (file.find(key) != &value) FAIL("a key is not found");
      read_typed(file, key, value.type == ValueType::kArray);
    }
    for (const auto& tensor : file.tensors()) {
      read(tensor.name);
      if (!is_inside(tensor.data, whole_) || tensor.data.empty()) FAIL("a tensor reaches outside the file");
      read(tensor.data.first(1));  // the ends are enough, and most of a model lies between them
      read(tensor.data.last(1));
      if (file.find_tensor(tensor.name) != &tensor) FAIL("a tensor is not found");
    }
  }

 private:
  void read(std::span<const std::byte> view) {
    if (!is_inside(view, whole_)) FAIL("a view reaches outside the file");
    unsigned sum = 0;
    for (const std::byte byte : view) sum += static_cast<unsigned>(byte);
    sum_ = sum;
  }
  void read(std::string_view view) { read(std::as_bytes(std::span(view))); }

  /// Reads a value as what it is; the other reads make messages only.
  void read_typed(const File& file, std::string_view key, bool is_array) {
    if (is_array) {
      if (const auto texts = file.find_strings(key); texts.ok()) {
        for (const std::string_view text : **texts) read(text);
        return;
      }
      static_cast<void>(file.find_floats(key).ok() || file.find_integers(key).ok());
      return;
    }
    if (const auto text = file.find_string(key); text.ok()) return read(**text);
    static_cast<void>(file.find_integer(key).ok() || file.find_float(key).ok() || file.find_bool(key).ok());
  }

  std::span<const std::byte> whole_;
  volatile unsigned sum_ = 0;  // volatile: the reads must happen
};

struct Tally {
  int refused = 0;
  int parsed = 0;

  void add(std::span<const std::byte> bytes) {
    const auto file = File::parse(bytes);
    if (file.ok()) {
      Walker(bytes).walk(*file);
      ++parsed;
      return;
    }
    const bool is_expected = file.code() == StatusCode::kInvalidModel || file.code() == StatusCode::kUnsupported;
    if (!is_expected || file.status().message().empty()) FAIL("an unexpected status: " << file.status().message());
    ++refused;
  }
};

/// Every metadata type, arrays, three tensors.
Bytes small_file() {
  Writer writer;
  writer.add_string("general.architecture", "llama");
  writer.add_uint32("general.alignment", 32);
  constexpr std::array<std::tuple<const char*, ValueType, std::size_t>, 10> kScalars = {{
      {"u8", ValueType::kUint8, 1},
      {"i8", ValueType::kInt8, 1},
      {"u16", ValueType::kUint16, 2},
      {"i16", ValueType::kInt16, 2},
      {"i32", ValueType::kInt32, 4},
      {"f32", ValueType::kFloat32, 4},
      {"b", ValueType::kBool, 1},
      {"u64", ValueType::kUint64, 8},
      {"i64", ValueType::kInt64, 8},
      {"f64", ValueType::kFloat64, 8},
  }};
  for (const auto& [name, type, size] : kScalars) writer.add_raw(name, type, Bytes(size, std::byte{1}));
  writer.add_strings("texts", std::vector<std::string>{"one", "", "three"});
  writer.add_float32s("floats", std::vector<float>{1.0F, 2.0F});
  writer.add_int32s("ints", std::vector<std::int32_t>{1, 2, 3});
  writer.add_tensor("first", Format::kF32, {8}, Bytes(32));
  writer.add_tensor("second", Format::kQ4_0, {32, 2}, Bytes(36));
  writer.add_tensor("third", Format::kQ6_K, {256, 1, 2}, Bytes(420));
  return writer.finish();
}

Bytes tiny_model() {
  inlay::test::TinyModelOptions options;
  options.layers = 1;
  options.embedding_length = 32;
  options.n_heads = 2;
  options.n_kv_heads = 1;
  options.feed_forward_length = 32;
  return inlay::test::make_tiny_model(options);
}

/// The bytes ahead of the first tensor's data.
std::size_t header_bytes(const Bytes& bytes) {
  const auto file = File::parse(bytes);
  REQUIRE(file.ok());
  return static_cast<std::size_t>(file->tensors()[0].data.data() - bytes.data());
}

/// The end of the last tensor's data.
std::size_t data_end(const Bytes& bytes) {
  const auto file = File::parse(bytes);
  REQUIRE(file.ok());
  const auto& data = file->tensors().back().data;
  return static_cast<std::size_t>(data.data() + data.size() - bytes.data());
}

Bytes cut(const Bytes& bytes, std::size_t size) {  // an allocation of its own: the sanitizer sees its end
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
}

TEST_CASE("a file cut at any byte is refused") {
  Tally tally;
  const Bytes small = small_file();
  for (std::size_t size = 0; size < data_end(small); ++size) tally.add(cut(small, size));
  const Bytes model = tiny_model();
  for (std::size_t size = 0; size < header_bytes(model); ++size) tally.add(cut(model, size));
  CHECK(tally.parsed == 0);
  CHECK(tally.refused > 5000);
  Tally whole;
  whole.add(cut(small, data_end(small)));  // only padding is missing
  CHECK(whole.parsed == 1);
  MESSAGE("refused " << tally.refused << " cut files");
}

using Change = std::function<std::byte(std::byte)>;

/// Every header byte changed in every way of `changes`, one at a time.
Tally mutate_header(Bytes bytes, const std::vector<Change>& changes) {
  Tally tally;
  const std::size_t header = header_bytes(bytes);
  for (std::size_t i = 0; i < header; ++i) {
    const std::byte original = bytes[i];
    for (const Change& change : changes) {
      bytes[i] = change(original);
      if (bytes[i] != original) tally.add(bytes);
    }
    bytes[i] = original;
  }
  return tally;
}

TEST_CASE("a file with any header byte changed is refused or safe") {
  std::vector<Change> changes = {
      [](std::byte) { return std::byte{0x00}; },
      [](std::byte) { return std::byte{0xFF}; },
      [](std::byte byte) { return static_cast<std::byte>(static_cast<unsigned>(byte) + 1); },
  };
  const Tally model = mutate_header(tiny_model(), changes);
  for (unsigned bit = 0; bit < 8; ++bit) {
    changes.emplace_back([bit](std::byte byte) { return byte ^ (std::byte{1} << bit); });
  }
  const Tally small = mutate_header(small_file(), changes);
  CHECK(small.refused > 1000);
  CHECK(small.parsed > 100);  // a changed letter of a name is another name
  CHECK(model.refused > 1000);
  MESSAGE("small file: refused " << small.refused << " mutants, parsed " << small.parsed << " safely");
  MESSAGE("tiny model: refused " << model.refused << " mutants, parsed " << model.parsed << " safely");
}

TEST_CASE("a file with an extreme number at any header byte is refused or safe") {
  Bytes bytes = small_file();
  const std::size_t header = header_bytes(bytes);
  Tally tally;
  for (std::size_t i = 0; i + 8 <= header; ++i) {
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(i);
    std::array<std::byte, 8> original;
    std::copy_n(at, 8, original.begin());
    for (const std::uint64_t value :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x7FFFFFFF}, std::uint64_t{1} << 32U,
          std::uint64_t{1} << 60U, (std::uint64_t{1} << 61U) + 1, std::uint64_t{1} << 63U, ~std::uint64_t{31},
          ~std::uint64_t{7}, ~std::uint64_t{0}}) {
      const auto encoded = std::as_bytes(std::span(&value, 1));
      std::copy(encoded.begin(), encoded.end(), at);
      tally.add(bytes);
    }
    std::copy(original.begin(), original.end(), at);
  }
  CHECK(tally.refused > 1000);
  MESSAGE("refused " << tally.refused << " mutants, parsed " << tally.parsed << " safely");
}

TEST_CASE("random bytes after a valid start are refused or safe") {
  Tally tally;
  std::uint32_t state = 12345;
  const auto next = [&state] {
    state = state * 1664525U + 1013904223U;
    return static_cast<std::byte>(state >> 24U);
  };
  for (unsigned i = 0; i < 2000; ++i) {
    Bytes bytes = RawFile().header(i % 3, i % 5).bytes();
    for (int j = 0; j < 200; ++j) bytes.push_back(next());
    tally.add(bytes);
  }
  CHECK(tally.refused > 1500);
  MESSAGE("refused " << tally.refused << " files of random bytes, parsed " << tally.parsed << " safely");
}

TEST_CASE("a large hostile header costs time and memory in proportion to its size") {
  constexpr std::uint64_t kKeys = 200000;
  RawFile raw;
  raw.header(0, kKeys);
  const std::string prefix(40, 'k');  // what comparisons like least
  for (std::uint64_t i = 0; i < kKeys; ++i) raw.key(prefix + std::to_string(i), ValueType::kUint8).zeros(1);
  const auto begin = std::chrono::steady_clock::now();
  const auto file = File::parse(raw.bytes());
  const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  REQUIRE(file.ok());
  CHECK(elapsed_s < 20.0);  // below a second also with sanitizers; quadratic work would take minutes
  CHECK(file->find(prefix + "123456") != nullptr);
  MESSAGE("parsed " << kKeys << " keys, " << raw.bytes().size() << " bytes, in " << elapsed_s << " s");
}

}  // namespace
