// C API: smaller model files.
#include <string>
#include <utility>
#include <vector>

#include <inlay/quantize.hpp>

#include "call.hpp"
#include "callbacks.hpp"
#include "handles.hpp"

using inlay::Status;
using inlay::capi::call;
using inlay::capi::require;

void inlay_quantize_options_init(inlay_quantize_options* options, size_t struct_size) {
  inlay::capi::init_struct(options, struct_size, inlay_quantize_options{});
}

const char* inlay_quantize_type(size_t index) {
  const auto types = inlay::quantize_types();
  return index < types.size() ? types[index] : nullptr;
}

inlay_status inlay_quantize(const char* in_path, const char* out_path, const inlay_quantize_options* options,
                            inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{in_path, "in_path"}, {out_path, "out_path"}, {options, "options"}}));
    const auto known = inlay::capi::read_struct(options, inlay_quantize_options{});
    INLAY_CAPI_TRY(known.status());
    INLAY_CAPI_TRY(require({{known->type, "options.type"}}));
    inlay::QuantizeOptions converted;
    converted.type = known->type;
    converted.threads = known->threads;
    converted.progress = inlay::capi::convert_progress(known->progress, known->progress_user_data);
    converted.parallel_for = inlay::capi::convert_parallel_for(known->parallel_for, known->parallel_for_user_data);
    return inlay::quantize(in_path, out_path, converted).status();
  });
}
