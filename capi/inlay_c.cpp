// C API: version, errors, devices.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include <inlay/inlay.hpp>

#include "call.hpp"
#include "handles.hpp"

namespace inlay::capi {
namespace {

template <std::size_t kSize>
void copy_text(const std::string& text, char (&out)[kSize]) noexcept {
  const std::size_t length = std::min(text.size(), kSize - 1);
  std::memcpy(out, text.data(), length);
  std::memset(out + length, 0, kSize - length);
}

}  // namespace

inlay_status report(inlay_error** error, const Status& status) noexcept {
  const auto code = static_cast<inlay_status>(status.code());
  if (error == nullptr) return code;
  try {
    const std::string& message = status.message();
    *error = new inlay_error{code, message.empty() ? to_string(status.code()) : message};
  } catch (...) {
    *error = nullptr;  // inlay.h: the status alone says it
  }
  return code;
}

Status require(std::initializer_list<Parameter> parameters) {
  for (const Parameter& parameter : parameters) {
    if (parameter.pointer == nullptr) {
      return {StatusCode::kInvalidArgument, std::string(parameter.name) + ": must not be NULL"};
    }
  }
  return {};
}

Status check_buffer(const void* out, std::size_t capacity, const std::size_t* size) {
  INLAY_CAPI_TRY(require({{size, "size"}}));
  return check_input(out, capacity, "out");
}

Status check_input(const void* pointer, std::size_t size, const char* name) {
  if (pointer != nullptr || size == 0) return {};
  return {StatusCode::kInvalidArgument,
          std::string(name) + ": is NULL, but its size is given as " + std::to_string(size)};
}

void write_device(const DeviceInfo& device, inlay_device_info* out) noexcept {
  inlay_device_info info = {};
  info.kind = static_cast<inlay_device_kind>(device.kind);
  info.index = device.index;
  info.memory_bytes = device.memory_bytes;
  copy_text(device.name, info.name);
  copy_text(device.isa, info.isa);
  write_struct(info, out);
}

}  // namespace inlay::capi

using inlay::Status;
using inlay::StatusCode;
using inlay::capi::call;

uint32_t inlay_abi_version(void) { return INLAY_ABI_VERSION; }

const char* inlay_version_string(void) { return inlay::version_string(); }

const char* inlay_status_string(inlay_status status) { return inlay::to_string(static_cast<StatusCode>(status)); }

inlay_status inlay_error_status(const inlay_error* error) {
  return error == nullptr ? static_cast<inlay_status>(INLAY_OUT_OF_MEMORY) : error->status;
}

const char* inlay_error_message(const inlay_error* error) {
  return error == nullptr ? inlay_status_string(INLAY_OUT_OF_MEMORY) : error->message.c_str();
}

void inlay_error_free(inlay_error* error) { delete error; }

inlay_status inlay_device_count(size_t* count, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(inlay::capi::require({{count, "count"}}));
    const std::size_t n_devices = inlay::devices().size();
    if (n_devices == 0) return {StatusCode::kOutOfMemory, {}};
    *count = n_devices;
    return {};
  });
}

inlay_status inlay_device_get(size_t index, inlay_device_info* info, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(inlay::capi::check_output(info, "info"));
    const auto devices = inlay::devices();
    if (index >= devices.size()) {
      return {StatusCode::kNotFound,
              "device " + std::to_string(index) + ": there are " + std::to_string(devices.size())};
    }
    inlay::capi::write_device(devices[index], info);
    return {};
  });
}
