#include "runtime/backend.hpp"

namespace inlay {

Result<PassId> Executor::start(const RowBatch& /*batch*/) {
  return Status(StatusCode::kInternal, "this device chooses no tokens");
}

Result<TokenId> Executor::chosen(PassId /*pass*/) {
  return Status(StatusCode::kInternal, "this device chooses no tokens");
}

}  // namespace inlay
