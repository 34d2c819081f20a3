#include <inlay/tokenizer.hpp>

#include <limits>
#include <utility>

#include "base/guard.hpp"
#include "base/try.hpp"
#include "tokenizer/bpe_model.hpp"
#include "tokenizer/impl.hpp"
#include "tokenizer/spm_model.hpp"

namespace inlay {

Result<std::shared_ptr<const Tokenizer::Impl>> Tokenizer::Impl::make(const VocabData& data) {
  INLAY_TRY_ASSIGN(Vocab vocab, Vocab::make(data));
  auto impl = std::shared_ptr<Impl>(new Impl(std::move(vocab), data.model_name));
  if (impl->vocab_.model() == VocabModel::kSentencePiece) {
    INLAY_TRY_ASSIGN(impl->model_, SpmModel::make(data, impl->vocab_));
    impl->space_before_text_ = data.add_space_prefix.value_or(true);
    INLAY_TRY(impl->read_options(data, true));
  } else {
    INLAY_TRY_ASSIGN(auto model, BpeModel::make(data, impl->vocab_));
    INLAY_TRY(impl->read_options(data, model->adds_bos()));
    impl->model_ = std::move(model);
  }
  return std::shared_ptr<const Impl>(std::move(impl));
}

/// `add_bos`: what the kind of vocabulary does when the file says nothing.
Result<void> Tokenizer::Impl::read_options(const VocabData& data, bool add_bos) {
  const auto demand = [](const std::optional<bool>& wanted, TokenId token, const char* add_key, const char* id_key) {
    if (!wanted.value_or(false) || token != kNoToken) return Result<void>();
    return Result<void>(Status(StatusCode::kInvalidModel, std::string("tokenizer.ggml.") + add_key +
                                                              ": true, but tokenizer.ggml." + id_key + " is missing"));
  };
  INLAY_TRY(demand(data.add_bos, vocab_.bos(), "add_bos_token", "bos_token_id"));
  INLAY_TRY(demand(data.add_eos, vocab_.eos(), "add_eos_token", "eos_token_id"));
  add_bos_ = data.add_bos.value_or(add_bos && vocab_.bos() != kNoToken);
  add_eos_ = data.add_eos.value_or(false);
  return {};
}

Result<std::vector<TokenId>> Tokenizer::Impl::encode(std::string_view text, EncodeOptions options) const {
  constexpr std::size_t kMaxTextBytes = std::numeric_limits<std::int32_t>::max();
  if (text.size() > kMaxTextBytes) {
    return Status(StatusCode::kInvalidArgument, "text: expected at most " + std::to_string(kMaxTextBytes) +
                                                    " bytes, found " + std::to_string(text.size()));
  }
  std::vector<TokenId> tokens;
  const bool add_special = options.add_special == AddSpecial::kYes;
  if (add_special && add_bos_) tokens.push_back(vocab_.bos());
  INLAY_TRY(append_fragments(splitter_.split(text, options.parse_special), tokens));
  if (add_special && add_eos_) tokens.push_back(vocab_.eos());
  return tokens;
}

Result<void> Tokenizer::Impl::append_fragments(const std::vector<Fragment>& fragments,
                                               std::vector<TokenId>& tokens) const {
  bool after_text = false;
  for (const Fragment& fragment : fragments) {
    const bool is_text = fragment.token == kNoToken;
    if (!is_text) {
      tokens.push_back(fragment.token);
    } else if (space_before_text_ && !after_text) {
      INLAY_TRY(model_->encode(" " + std::string(fragment.text), tokens));
    } else {
      INLAY_TRY(model_->encode(fragment.text, tokens));
    }
    after_text = is_text;
  }
  return {};
}

Result<void> Tokenizer::Impl::check(TokenId token) const {
  if (vocab_.contains(token)) return {};
  return Status(StatusCode::kInvalidArgument,
                "token " + std::to_string(token) + ": expected 0 <= token < " + std::to_string(vocab_.size()));
}

std::string_view Tokenizer::Impl::shown_bytes(TokenId token, RenderSpecial special) const noexcept {
  return vocab_.is_hidden(token) && special == RenderSpecial::kNo ? std::string_view() : vocab_.bytes(token);
}

Result<std::string> Tokenizer::Impl::decode(const std::vector<TokenId>& tokens, RenderSpecial special) const {
  std::string text;
  bool after_text = false;  // as in encode: where it put a space before the text, that space goes
  for (const TokenId token : tokens) {
    INLAY_TRY(check(token));
    std::string_view bytes = shown_bytes(token, special);
    const bool is_special = vocab_.is_special(token);
    if (space_before_text_ && !after_text && !is_special && !bytes.empty() && bytes[0] == ' ') bytes.remove_prefix(1);
    text += bytes;
    after_text = !is_special;
  }
  return text;
}

Result<std::string> Tokenizer::Impl::piece(TokenId token, RenderSpecial special) const {
  INLAY_TRY(check(token));
  return std::string(shown_bytes(token, special));
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, EncodeOptions options) const noexcept {
  return guard([&] { return impl_->encode(text, options); });
}

Result<std::string> Tokenizer::decode(const std::vector<TokenId>& tokens, RenderSpecial special) const noexcept {
  return guard([&] { return impl_->decode(tokens, special); });
}

Result<std::string> Tokenizer::piece(TokenId token, RenderSpecial special) const noexcept {
  return guard([&] { return impl_->piece(token, special); });
}

std::int32_t Tokenizer::vocab_size() const noexcept { return static_cast<std::int32_t>(impl_->vocab().size()); }

TokenId Tokenizer::bos() const noexcept { return impl_->vocab().bos(); }

TokenId Tokenizer::eos() const noexcept { return impl_->vocab().eos(); }

bool Tokenizer::is_end_of_generation(TokenId token) const noexcept { return impl_->vocab().ends_generation(token); }

}  // namespace inlay
