// Size-prefixed structs: how versions of inlay.h with more or fewer fields understand each other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>

#include <inlay/result.hpp>

namespace inlay::capi {

/// A larger size is a mistake such as an uninitialised struct: its tail is not even looked at.
inline constexpr std::size_t kMaxStructSize = 4096;

/// Specialised in inlay_structs.hpp for every struct of the API: its name and the size of its first version.
template <class Struct>
struct StructTraits;

/// Checks a struct_size against the rule in inlay.h.
template <class Struct>
Status check_struct_size(std::size_t size) {
  constexpr std::size_t kFirst = StructTraits<Struct>::kFirstSize;
  static_assert(kFirst <= sizeof(Struct) && sizeof(Struct) <= kMaxStructSize);
  static_assert(std::is_trivially_copyable_v<Struct> && offsetof(Struct, struct_size) == 0);
  if (size >= kFirst && size <= kMaxStructSize) return {};
  return {StatusCode::kInvalidArgument, std::string(StructTraits<Struct>::kName) + ".struct_size: expected " +
                                            std::to_string(kFirst) + " to " + std::to_string(kMaxStructSize) +
                                            ", found " + std::to_string(size)};
}

/// The caller's struct in this version's shape: fields that the caller does not know keep their defaults.
template <class Struct>
Result<Struct> read_struct(const Struct* given, const Struct& defaults) {
  Struct known = defaults;
  if (given == nullptr) return known;
  std::size_t size = 0;  // only the prefix is sure to exist: the caller's struct may be smaller than `Struct`
  std::memcpy(&size, given, sizeof size);
  if (Status status = check_struct_size<Struct>(size); !status.ok()) return status;
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(Struct); i < size; ++i) {
    if (bytes[i] != 0) {
      return Status(StatusCode::kInvalidArgument, std::string(StructTraits<Struct>::kName) +
                                                      ": sets a field that this version does not know, at byte " +
                                                      std::to_string(i));
    }
  }
  std::memcpy(&known, given, std::min(size, sizeof(Struct)));
  known.struct_size = sizeof(Struct);
  return known;
}

/// Fills the caller's struct, whose struct_size has passed `check_struct_size`, with as much as it can hold.
template <class Struct>
void write_struct(Struct values, Struct* out) noexcept {
  std::size_t size = 0;
  std::memcpy(&size, out, sizeof size);
  std::memset(reinterpret_cast<unsigned char*>(out) + sizeof size, 0, size - sizeof size);
  values.struct_size = size;
  std::memcpy(out, &values, std::min(size, sizeof(Struct)));
}

/// Reads the struct_size of an output struct and checks it.
template <class Struct>
Status check_output(const Struct* out, const char* parameter) {
  if (out == nullptr) return {StatusCode::kInvalidArgument, std::string(parameter) + ": must not be NULL"};
  std::size_t size = 0;
  std::memcpy(&size, out, sizeof size);
  return check_struct_size<Struct>(size);
}

/// The `_init` functions.
template <class Struct>
void init_struct(Struct* out, std::size_t size, const Struct& defaults) noexcept {
  if (out == nullptr || size < sizeof size) return;
  std::memcpy(out, &size, sizeof size);
  write_struct(defaults, out);
}

}  // namespace inlay::capi
