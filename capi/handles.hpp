// What stands behind the opaque handles, and the structs of inlay.h with the sizes of their first versions.
#pragma once

#include <inlay.h>

#include <cstddef>
#include <string>

#include <inlay/inlay.hpp>

#include "structs.hpp"

struct inlay_error {
  inlay_status status;
  std::string message;
};

struct inlay_model {
  inlay::Model value;
};

struct inlay_session {
  inlay::Session value;
};

struct inlay_generation {
  inlay::Generation value;
};

struct inlay_profile {
  inlay::PassProfile value;
};

struct inlay_batch {
  inlay::Batch value;
  std::size_t n_entries = 0;
};

namespace inlay::capi {

// The sizes are numbers, not sizeof: they stay when the struct grows.
#define INLAY_CAPI_STRUCT(Struct, first_size)             \
  template <>                                             \
  struct StructTraits<Struct> {                           \
    static constexpr const char* kName = #Struct;         \
    static constexpr std::size_t kFirstSize = first_size; \
  }

INLAY_CAPI_STRUCT(inlay_device_info, 184);
INLAY_CAPI_STRUCT(inlay_model_options, 80);
INLAY_CAPI_STRUCT(inlay_model_source, 40);
INLAY_CAPI_STRUCT(inlay_memory_estimate, 32);
INLAY_CAPI_STRUCT(inlay_model_info, 96);
INLAY_CAPI_STRUCT(inlay_sampling_options, 48);
INLAY_CAPI_STRUCT(inlay_session_options, 24);
INLAY_CAPI_STRUCT(inlay_generate_options, 32);
INLAY_CAPI_STRUCT(inlay_pass_profile, 32);
INLAY_CAPI_STRUCT(inlay_step_profile, 32);
INLAY_CAPI_STRUCT(inlay_quantize_options, 56);

#undef INLAY_CAPI_STRUCT

/// Copies what inlay.h says about a device; `out` has passed check_output.
void write_device(const DeviceInfo& device, inlay_device_info* out) noexcept;

}  // namespace inlay::capi
