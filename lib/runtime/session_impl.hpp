// What a Session handle points to.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include <inlay/session.hpp>

#include "runtime/backend.hpp"
#include "runtime/model_impl.hpp"
#include "runtime/sampler.hpp"
#include "runtime/session_state.hpp"

namespace inlay {

/// Invariants: evaluated <= tokens.size() == kinds.size(); pages holds exactly pages_for(evaluated) pages, unless a
/// pass runs ahead, which may need another one; `logits` are those after the last token when logits_valid, which
/// implies evaluated == tokens.size() > 0.
class Session::Impl {
 public:
  Impl(std::shared_ptr<Model::Impl> model, const Sampler& sampler, int context_length);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  static Result<std::unique_ptr<Impl>> create(std::shared_ptr<Model::Impl> model, const Sampler& sampler,
                                              int context_length);
  Result<std::unique_ptr<Impl>> fork();

  Result<void> prefill(std::span<const TokenId> tokens);
  Result<TokenId> step();
  Result<std::span<const float>> current_logits();
  Result<void> rewind(int length);
  /// Session::profile (session_profile.cpp).
  Result<PassProfile> profile();
  /// Session::save and Session::restore (session_save.cpp).
  Result<std::vector<std::byte>> save_state();
  Result<void> restore_state(std::span<const std::byte> state);

  /// The checks of prefill and step, which change nothing.
  [[nodiscard]] Result<void> check_append(std::span<const TokenId> appended) const;
  [[nodiscard]] Result<void> check_step() const;
  /// Adds tokens that came in one call.
  void append(std::span<const TokenId> appended);
  /// Samples from the valid logits and appends the token.
  TokenId sample_next();
  /// Gives the session pages of its own for positions [evaluated, evaluated + n): new ones at the end, and a copy of
  /// the last one when it is partly filled and shared with a fork. Holds the model's mutex.
  Result<void> prepare_pages(int n);
  /// Forgets the pass that runs ahead: before anything but a step.
  void settle() noexcept;
  /// The same with the model's mutex held, also where a pass could not be started.
  void forget_ahead() noexcept;
  /// Takes back everything behind the first `length` tokens, of which `evaluated` stay evaluated. Holds the model's
  /// mutex.
  void restore(std::size_t length, int evaluated) noexcept;
  /// True once per cancel().
  [[nodiscard]] bool take_cancel() noexcept { return cancelled.exchange(false); }

  std::shared_ptr<Model::Impl> model;
  std::vector<TokenId> tokens;  // capacity context_length
  std::vector<RowKind> kinds;   // of the tokens, as they are evaluated: again after a rewind
  std::vector<PageId> pages;    // capacity pages_for(context_length)
  int evaluated = 0;            // tokens whose keys and values are in the pages
  PassId ahead = 0;             // the pass that evaluates the last token while its owner looks at it (Stepper); 0: none
  std::vector<float> logits;    // [vocab_size]
  bool logits_valid = false;
  Sampler sampler;
  int context_length = 0;
  int promised_pages = 0;  // what this session has reserved of the model's pages
  std::atomic<bool> cancelled = false;

 private:
  /// Takes over what a state says; nothing but the device can fail. Holds the model's mutex.
  Result<void> take_over(const SessionState& state);
};

}  // namespace inlay
