#include "base/try.hpp"
#include "tokenizer/impl.hpp"
#include "tokenizer/tokenizer.hpp"

namespace inlay {
namespace {

/// Fills the fields of a VocabData and keeps the first failure.
class Reader {
 public:
  explicit Reader(const gguf::File& file) : file_(file) {}

  void read(std::string_view key, std::string_view& field) {
    std::optional<std::string_view> value;
    keep(file_.find_string(key), value);
    field = value.value_or(std::string_view());
  }
  void read(std::string_view key, std::optional<std::int64_t>& field) { keep(file_.find_integer(key), field); }
  void read(std::string_view key, std::optional<bool>& field) { keep(file_.find_bool(key), field); }
  void read(std::string_view key, std::optional<std::vector<float>>& field) { keep(file_.find_floats(key), field); }
  void read(std::string_view key, std::optional<std::vector<std::int64_t>>& field) {
    keep(file_.find_integers(key), field);
  }
  void read(std::string_view key, std::optional<std::vector<std::string_view>>& field) {
    keep(file_.find_strings(key), field);
  }

  [[nodiscard]] const Result<void>& result() const noexcept { return result_; }

 private:
  template <class T>
  void keep(Result<std::optional<T>> value, std::optional<T>& field) {
    if (!value) {
      if (result_.ok()) result_ = value.status();
      return;
    }
    field = *std::move(value);
  }

  const gguf::File& file_;
  Result<void> result_;
};

Result<VocabData> read_vocab_data(const gguf::File& file) {
  VocabData data;
  std::optional<std::vector<std::string_view>> pieces;
  Reader reader(file);
  reader.read("tokenizer.ggml.model", data.model);
  reader.read("tokenizer.ggml.pre", data.pre);
  reader.read("general.name", data.model_name);
  reader.read("tokenizer.ggml.tokens", pieces);
  reader.read("tokenizer.ggml.scores", data.scores);
  reader.read("tokenizer.ggml.token_type", data.types);
  reader.read("tokenizer.ggml.merges", data.merges);
  reader.read("tokenizer.ggml.bos_token_id", data.bos);
  reader.read("tokenizer.ggml.eos_token_id", data.eos);
  reader.read("tokenizer.ggml.eot_token_id", data.eot);
  reader.read("tokenizer.ggml.eom_token_id", data.eom);
  reader.read("tokenizer.ggml.unknown_token_id", data.unknown);
  reader.read("tokenizer.ggml.padding_token_id", data.padding);
  reader.read("tokenizer.ggml.add_bos_token", data.add_bos);
  reader.read("tokenizer.ggml.add_eos_token", data.add_eos);
  reader.read("tokenizer.ggml.add_space_prefix", data.add_space_prefix);
  INLAY_TRY(reader.result());
  if (file.find("tokenizer.ggml.model") == nullptr) {
    return Status(StatusCode::kInvalidModel, "tokenizer.ggml.model: missing");
  }
  if (!pieces) return Status(StatusCode::kInvalidModel, "tokenizer.ggml.tokens: missing");
  data.pieces = *std::move(pieces);
  return data;
}

/// Adds unused tokens without text. Lists of different lengths contradict each other: they stay, to be refused as such.
void pad(VocabData& data, std::size_t size) {
  const std::size_t listed = data.pieces.size();
  if (listed == 0 || listed >= size) return;
  if ((data.types && data.types->size() != listed) || (data.scores && data.scores->size() != listed)) return;
  data.pieces.resize(size);
  if (data.types) data.types->resize(size, static_cast<std::int64_t>(TokenKind::kUnused));
  if (data.scores) data.scores->resize(size);
}

}  // namespace

Result<std::shared_ptr<const Tokenizer::Impl>> load_tokenizer(const gguf::File& file, std::size_t n_rows) {
  INLAY_TRY_ASSIGN(VocabData data, read_vocab_data(file));
  pad(data, n_rows);
  return Tokenizer::Impl::make(data);
}

}  // namespace inlay
