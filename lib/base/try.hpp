// Early return of a failed Status or Result.
#pragma once

#include <inlay/result.hpp>

#define INLAY_CONCAT_INNER(a, b) a##b
#define INLAY_CONCAT(a, b) INLAY_CONCAT_INNER(a, b)

/// Returns the failure of a Result<void> or any Result whose value is not needed.
#define INLAY_TRY(expression)                                     \
  do {                                                            \
    auto&& inlay_try_result = (expression);                       \
    if (!inlay_try_result.ok()) return inlay_try_result.status(); \
  } while (false)

/// Declares `declaration` from the value of a Result<T>, or returns its failure.
#define INLAY_TRY_ASSIGN(declaration, expression)         \
  auto INLAY_CONCAT(inlay_try_, __LINE__) = (expression); \
  if (!INLAY_CONCAT(inlay_try_, __LINE__).ok()) {         \
    return INLAY_CONCAT(inlay_try_, __LINE__).status();   \
  }                                                       \
  declaration = std::move(INLAY_CONCAT(inlay_try_, __LINE__)).value()
