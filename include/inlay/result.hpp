// Status and Result<T>: how every fallible call of inlay reports failure. Nothing in the API throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <inlay/export.hpp>

namespace inlay {

/// What kind of failure happened. The values are part of the C ABI (`inlay_status`): never renumbered, only appended.
enum class StatusCode : std::int32_t {
  kOk = 0,               ///< success
  kInvalidArgument = 1,  ///< the caller passed something the call cannot accept
  kNotFound = 2,         ///< a file, metadata key or device does not exist
  kIoError = 3,          ///< the operating system refused to read or write
  kInvalidModel = 4,     ///< the model file is damaged, truncated or contradicts itself
  kUnsupported = 5,      ///< well formed, but this version of inlay cannot run it
  kOutOfMemory = 6,      ///< host or device memory could not be had
  kContextFull = 7,      ///< the tokens do not fit into the session's context
  kCancelled = 8,        ///< the caller asked to stop
  kDeviceError = 9,      ///< a device or its driver failed
  kInternal = 10,        ///< a broken promise inside inlay; please report it
  kBufferTooSmall = 11,  ///< C API: the caller's buffer cannot hold the result
  kInvalidState = 12,    ///< a saved session is damaged, or does not belong to this model
};

/// The field name of a code, for instance "context full". Never null, static storage.
INLAY_API const char* to_string(StatusCode code) noexcept;

/// A code and, for failures, a message that names the thing that failed.
class [[nodiscard]] Status {
 public:
  Status() noexcept = default;  ///< success
  /// A failure.
  Status(StatusCode code, std::string message) noexcept : code_(code), message_(std::move(message)) {}

  [[nodiscard]] bool ok() const noexcept { return code_ == StatusCode::kOk; }     ///< whether it is success
  [[nodiscard]] StatusCode code() const noexcept { return code_; }                ///< what kind of failure
  [[nodiscard]] const std::string& message() const noexcept { return message_; }  ///< what failed; empty on success

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

/// Either a T or a failed Status. `value()`, `*` and `->` require `ok()`.
template <class T>
class [[nodiscard]] Result {
 public:
  // NOLINTBEGIN(google-explicit-constructor): `return value;` and `return status;` are the point of the type.
  /// Success.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  /// A failure; `status` must not be success.
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }  ///< whether there is a T
  explicit operator bool() const noexcept { return ok(); }                ///< ok()

  /// @{
  /// The T. Requires `ok()`.
  [[nodiscard]] T& value() & noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] const T& value() const& noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] T&& value() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & noexcept { return value(); }
  const T& operator*() const& noexcept { return value(); }
  T&& operator*() && noexcept { return std::move(*this).value(); }
  T* operator->() noexcept { return &value(); }
  const T* operator->() const noexcept { return &value(); }
  /// @}

  /// @{
  /// The failure, or success when `ok()`.
  [[nodiscard]] const Status& status() const& noexcept {
    const Status* failure = std::get_if<1>(&state_);
    return failure == nullptr ? success() : *failure;
  }
  [[nodiscard]] Status status() && noexcept { return ok() ? Status() : std::move(*std::get_if<1>(&state_)); }
  /// @}
  /// Its code.
  [[nodiscard]] StatusCode code() const noexcept { return ok() ? StatusCode::kOk : std::get_if<1>(&state_)->code(); }

 private:
  static const Status& success() noexcept {
    // Never destroyed: that would take a handler, which the library would have to register for the process's end.
    alignas(Status) static std::byte memory[sizeof(Status)];
    static const Status* const kSuccess = ::new (memory) Status();
    return *kSuccess;
  }

  std::variant<T, Status> state_;
};

/// Success without a value, or a failed Status.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() noexcept = default;  ///< success
  /// What `status` says.
  Result(Status status) noexcept : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return status_.ok(); }            ///< whether it is success
  explicit operator bool() const noexcept { return ok(); }                   ///< ok()
  [[nodiscard]] const Status& status() const noexcept { return status_; }    ///< the failure, or success
  [[nodiscard]] StatusCode code() const noexcept { return status_.code(); }  ///< its code

 private:
  Status status_;
};

}  // namespace inlay
