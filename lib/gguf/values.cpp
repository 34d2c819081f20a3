// Typed reads of metadata values.
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "gguf/gguf.hpp"
#include "gguf/wire.hpp"

namespace inlay::gguf {
namespace {

struct TypeInfo {
  const char* name;
  std::size_t bytes;
};

constexpr std::array<TypeInfo, 13> kTypes = {{
    {"uint8", 1},
    {"int8", 1},
    {"uint16", 2},
    {"int16", 2},
    {"uint32", 4},
    {"int32", 4},
    {"float32", 4},
    {"bool", 1},
    {"string", 0},
    {"array", 0},
    {"uint64", 8},
    {"int64", 8},
    {"float64", 8},
}};

std::string type_name(ValueType type) {
  const auto number = static_cast<std::uint32_t>(type);
  return number < kTypes.size() ? kTypes[number].name : "type " + std::to_string(number);
}

std::string describe(const Value& value) {
  if (value.type != ValueType::kArray) return type_name(value.type);
  return "array of " + type_name(value.element_type);
}

Status mismatch(std::string_view key, const char* expected, const std::string& found) {
  return {StatusCode::kInvalidModel, "metadata key " + quoted(key) + ": expected " + expected + ", found " + found};
}

constexpr auto kOutOfRange = "a number outside the signed 64-bit range";

/// Calls `visitor(T{})` with the integer type T that `type` names; false for other types.
template <class Visitor>
bool visit_integer(ValueType type, Visitor&& visitor) {
  switch (type) {
    case ValueType::kUint8:
      return visitor(std::uint8_t{}), true;
    case ValueType::kInt8:
      return visitor(std::int8_t{}), true;
    case ValueType::kUint16:
      return visitor(std::uint16_t{}), true;
    case ValueType::kInt16:
      return visitor(std::int16_t{}), true;
    case ValueType::kUint32:
      return visitor(std::uint32_t{}), true;
    case ValueType::kInt32:
      return visitor(std::int32_t{}), true;
    case ValueType::kUint64:
      return visitor(std::uint64_t{}), true;
    case ValueType::kInt64:
      return visitor(std::int64_t{}), true;
    default:
      return false;
  }
}

template <class T>
std::optional<std::int64_t> to_int64(T value) {
  if constexpr (std::is_same_v<T, std::uint64_t>) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  }
  return static_cast<std::int64_t>(value);
}

std::string_view characters(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The string that starts at the front of `bytes`, which loses it. The reader has checked the bounds.
std::string_view take_string(std::span<const std::byte>& bytes) {
  const auto length = static_cast<std::size_t>(load<Length>(bytes.data()));
  const std::string_view text = characters(bytes.subspan(sizeof(Length), length));
  bytes = bytes.subspan(sizeof(Length) + length);
  return text;
}

bool is_array_of(const Value& value, ValueType element_type) {
  return value.type == ValueType::kArray && value.element_type == element_type;
}

template <class From>
std::vector<float> to_floats(const Value& value) {
  std::vector<float> result(static_cast<std::size_t>(value.count));
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = static_cast<float>(load<From>(value.bytes.data() + i * sizeof(From)));
  }
  return result;
}

template <class Number>
void append_number(std::string& text, Number number) {
  char digits[40];
  text.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

/// In quotes, escaped as JSON wants it.
void append_quoted(std::string& text, std::string_view characters_of_it) {
  constexpr const char* kDigits = "0123456789abcdef";
  text += '"';
  for (const char character : characters_of_it) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20) {
      if (character == '"' || character == '\\') text += '\\';
      text += character;
    } else {
      text += "\\u00";
      text += kDigits[byte >> 4U];
      text += kDigits[byte & 15U];
    }
  }
  text += '"';
}

/// The number or bool at `bytes`.
void append_scalar(std::string& text, ValueType type, const std::byte* bytes) {
  if (visit_integer(type, [&](auto zero) { append_number(text, load<decltype(zero)>(bytes)); })) return;
  if (type == ValueType::kFloat32) append_number(text, load<float>(bytes));
  if (type == ValueType::kFloat64) append_number(text, load<double>(bytes));
  if (type == ValueType::kBool) text += load<std::uint8_t>(bytes) != 0 ? "true" : "false";
}

std::string array_text(const Value& value) {
  std::string text = "[";
  std::span<const std::byte> bytes = value.bytes;
  const std::size_t step = scalar_bytes(value.element_type);
  for (std::uint64_t i = 0; i < value.count; ++i) {
    if (i > 0) text += ", ";
    if (value.element_type == ValueType::kString) {
      append_quoted(text, take_string(bytes));
    } else {
      append_scalar(text, value.element_type, bytes.data() + static_cast<std::size_t>(i) * step);
    }
  }
  return text + "]";
}

}  // namespace

const char* to_string(ValueType type) noexcept {
  const auto number = static_cast<std::uint32_t>(type);
  return number < kTypes.size() ? kTypes[number].name : "unknown";
}

std::size_t scalar_bytes(ValueType type) noexcept {
  const auto number = static_cast<std::uint32_t>(type);
  return number < kTypes.size() ? kTypes[number].bytes : 0;
}

std::string quoted(std::string_view name) {
  constexpr std::size_t kMaxShown = 100;
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text = "\"";
  for (const char character : name.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\') {
      text += character;
    } else {
      text += "\\x";
      text += kDigits[byte >> 4U];
      text += kDigits[byte & 15U];
    }
  }
  if (name.size() > kMaxShown) text += "...";
  return text + "\"";
}

const Value* File::find(std::string_view key) const noexcept {
  const auto* entry =
      find_by_name(metadata_, metadata_order_, key, [](const auto& candidate) { return candidate.first; });
  return entry == nullptr ? nullptr : &entry->second;
}

const Tensor* File::find_tensor(std::string_view name) const noexcept {
  return find_by_name(tensors_, tensor_order_, name, [](const Tensor& candidate) { return candidate.name; });
}

Result<std::optional<std::int64_t>> File::find_integer(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::optional<std::int64_t>();
  std::optional<std::int64_t> result;
  const bool is_integer =
      visit_integer(value->type, [&](auto zero) { result = to_int64(load<decltype(zero)>(value->bytes.data())); });
  if (!is_integer) return mismatch(key, "an integer", describe(*value));
  if (!result) return mismatch(key, "an integer", kOutOfRange);
  return result;
}

Result<std::optional<double>> File::find_float(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::optional<double>();
  if (value->type == ValueType::kFloat32) return std::optional<double>(load<float>(value->bytes.data()));
  if (value->type == ValueType::kFloat64) return std::optional<double>(load<double>(value->bytes.data()));
  return mismatch(key, "float32 or float64", describe(*value));
}

Result<std::optional<bool>> File::find_bool(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::optional<bool>();
  if (value->type != ValueType::kBool) return mismatch(key, "bool", describe(*value));
  return std::optional<bool>(load<std::uint8_t>(value->bytes.data()) != 0);
}

Result<std::optional<std::string_view>> File::find_string(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::optional<std::string_view>();
  if (value->type != ValueType::kString) return mismatch(key, "string", describe(*value));
  std::span<const std::byte> bytes = value->bytes;
  return std::optional<std::string_view>(take_string(bytes));
}

Result<std::optional<std::vector<std::string_view>>> File::find_strings(std::string_view key) const {
  using Strings = std::vector<std::string_view>;
  const Value* value = find(key);
  if (value == nullptr) return std::optional<Strings>();
  if (!is_array_of(*value, ValueType::kString)) return mismatch(key, "array of string", describe(*value));
  Strings result(static_cast<std::size_t>(value->count));
  std::span<const std::byte> bytes = value->bytes;
  for (std::string_view& text : result) text = take_string(bytes);
  return std::optional<Strings>(std::move(result));
}

Result<std::optional<std::vector<float>>> File::find_floats(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::optional<std::vector<float>>();
  if (is_array_of(*value, ValueType::kFloat32)) return std::optional(to_floats<float>(*value));
  if (is_array_of(*value, ValueType::kFloat64)) return std::optional(to_floats<double>(*value));
  return mismatch(key, "array of float32 or float64", describe(*value));
}

Result<std::optional<std::vector<std::int64_t>>> File::find_integers(std::string_view key) const {
  using Integers = std::vector<std::int64_t>;
  const Value* value = find(key);
  if (value == nullptr) return std::optional<Integers>();
  Integers result;
  bool in_range = true;
  const auto convert = [&](auto zero) {
    using Integer = decltype(zero);
    result.resize(static_cast<std::size_t>(value->count));
    for (std::size_t i = 0; i < result.size(); ++i) {
      const auto number = to_int64(load<Integer>(value->bytes.data() + i * sizeof(Integer)));
      in_range = in_range && number.has_value();
      result[i] = number.value_or(0);
    }
  };
  if (value->type != ValueType::kArray || !visit_integer(value->element_type, convert)) {
    return mismatch(key, "array of an integer type", describe(*value));
  }
  if (!in_range) return mismatch(key, "array of an integer type", kOutOfRange);
  return std::optional<Integers>(std::move(result));
}

std::optional<std::string> File::find_text(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == ValueType::kArray) return array_text(*value);
  std::span<const std::byte> bytes = value->bytes;
  if (value->type == ValueType::kString) return std::string(take_string(bytes));
  std::string text;
  append_scalar(text, value->type, bytes.data());
  return text;
}

}  // namespace inlay::gguf
