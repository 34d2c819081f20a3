// Steps on a device that chooses tokens: the pass of the next tokens starts before the host knows these.
#pragma once

#include <array>
#include <span>

#include <inlay/result.hpp>
#include <inlay/session.hpp>
#include <inlay/types.hpp>

#include "runtime/backend.hpp"

namespace inlay {

/// One for each model. The first step of sessions that did not take the last one together looks at their logits on the
/// host. From the second on the device chooses, and a pass runs ahead, which evaluates the tokens that the sessions
/// have and chooses the next ones; the next step takes these, unless something else has touched one of the sessions or
/// the device. A pass that nobody takes leaves no trace: it uses up no random numbers, and what it has written is
/// written again, or lies in pages that are free.
class Stepper {
 public:
  /// Whether `step` can be used for these sessions, which are of one model.
  [[nodiscard]] static bool takes(std::span<Session::Impl* const> sessions);

  /// The next token of every session, which is also appended to it: the tokens that each would get alone. None stands
  /// twice, and each may take a step. On failure all are as before. Takes the model's mutex.
  static Result<void> step(std::span<Session::Impl* const> sessions, std::span<TokenId> tokens);

  /// Before a session goes. Holds the model's mutex.
  void forget(const Session::Impl* session) noexcept;

 private:
  [[nodiscard]] bool step_again(std::span<Session::Impl* const> sessions);

  std::array<const Session::Impl*, kMostChoices> latest_{};  // that took the last step together, in their order
};

}  // namespace inlay
