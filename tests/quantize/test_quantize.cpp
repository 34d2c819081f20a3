#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "base/mapped_file.hpp"
#include "gguf/gguf.hpp"
#include "quant/reference.hpp"
#include "quantize/mix.hpp"
#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

namespace {

using namespace inlay;

/// A tiny model with rows of 256 and of 96 weights.
class QuantizeTest {
 public:
  QuantizeTest() {
    options.embedding_length = 256;
    options.feed_forward_length = 96;
    options.formats = test::TinyModelFormats::all(Format::kF16);
    options.attention_biases = true;
    in = dir.write("in.gguf", test::make_tiny_model(options));
    out = dir.file("out.gguf");
  }

  [[nodiscard]] Result<void> run(const std::string& type, std::int32_t threads = 2) const {
    QuantizeOptions how;
    how.type = type;
    how.threads = threads;
    return quantize(in, out, how);
  }

  [[nodiscard]] std::size_t n_files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(dir.path()), {}));
  }

  test::TempDir dir;
  test::TinyModelOptions options;
  std::string in;
  std::string out;
};

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct OpenedFile {
  explicit OpenedFile(const std::string& path)
      : mapped(MappedFile::open(path).value()), file(gguf::File::parse(mapped.bytes()).value()) {}
  MappedFile mapped;
  gguf::File file;
};

std::vector<float> weights_of(const gguf::Tensor& tensor) {
  std::vector<float> values(tensor.dims[0] * tensor.dims[1]);
  decode_row(tensor.format, tensor.data.data(), values.size(), values.data());
  return values;
}

double relative_error(const std::vector<float>& x, const std::vector<float>& y) {
  REQUIRE(x.size() == y.size());
  double error = 0.0;
  double size = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    error += difference * difference;
    size += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return std::sqrt(error / size);
}

std::vector<float> logits_of(const std::string& path) {
  const auto model = Model::open(path, {.threads = 1});
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  auto session = Session::create(*model);
  REQUIRE(session.ok());
  REQUIRE(session->prefill(std::vector<TokenId>{1, 270, 280, 290}).ok());
  const auto logits = session->logits();
  REQUIRE(logits.ok());
  return {logits->begin(), logits->end()};
}

/// About half above what the types reach on this model; logits that have nothing to do with the source differ by 1.4.
double logit_error_bound(const std::string& type) {
  const std::array<std::pair<std::string, double>, 8> bounds = {
      {{"BF16", 0.01}, {"F", 1e-6}, {"Q8", 0.04}, {"Q6", 0.11}, {"Q5", 0.25}, {"Q4", 0.4}, {"Q3", 0.95}, {"Q2", 1.1}}};
  return std::find_if(bounds.begin(), bounds.end(), [&](const auto& row) { return type.starts_with(row.first); })
      ->second;
}

TEST_CASE_FIXTURE(QuantizeTest, "every type gives a model that runs and is close to the source") {
  const std::vector<float> exact = logits_of(in);
  const OpenedFile source(in);
  std::string table;
  for (const std::string type : quantize_types()) {
    CAPTURE(type);
    const auto done = run(type);
    REQUIRE_MESSAGE(done.ok(), done.status().message());
    const OpenedFile result(out);
    CHECK(result.file.find_integer("general.file_type").value() == find_mix(type)->file_type);
    CHECK(result.file.find_string("general.name").value() == "Tiny");
    CHECK(result.file.metadata().size() == source.file.metadata().size());
    REQUIRE(result.file.tensors().size() == source.file.tensors().size());
    for (const gguf::Tensor& tensor : source.file.tensors()) {
      CAPTURE(tensor.name);
      const gguf::Tensor* found = result.file.find_tensor(tensor.name);
      REQUIRE(found != nullptr);
      CHECK(found->dims == tensor.dims);
      const auto expected = format_in_mix(*find_mix(type), {2, 2, true}, tensor.name, tensor.n_dims, tensor.dims[0]);
      CHECK(found->format == expected.value_or(tensor.format));
      CHECK(relative_error(weights_of(tensor), weights_of(*found)) < 0.33);
    }
    const double error = relative_error(exact, logits_of(out));
    table +=
        "\n  " + type + " " + std::to_string(error) + ", " + std::to_string(result.mapped.bytes().size()) + " bytes";
    CHECK(error < logit_error_bound(type));
  }
  CHECK(n_files() == 2);
  MESSAGE("relative error of the logits:" << table);
}

TEST_CASE_FIXTURE(QuantizeTest, "the same bytes with any number of threads, and with the host's") {
  options.vocab_size = 9000;  // 2.3 million weights: several windows with one thread
  options.head = test::TinyHead::kTied;
  in = dir.write("in.gguf", test::make_tiny_model(options));
  REQUIRE(run("Q4_K_M", 1).ok());
  const std::string expected = read_all(out);
  for (const int threads : {2, 5, 0}) {
    REQUIRE(run("Q4_K_M", threads).ok());
    CHECK(read_all(out) == expected);
  }
  std::atomic<int> calls = 0;
  QuantizeOptions how;
  how.type = "Q4_K_M";
  how.threads = 3;
  how.parallel_for = [&](std::int32_t count, const std::function<void(std::int32_t)>& body) {
    CHECK(count <= 3);
    for (std::int32_t i = count - 1; i >= 0; --i) body(i);
    ++calls;
  };
  REQUIRE(quantize(in, out, how).ok());
  CHECK(calls > 3);
  CHECK(read_all(out) == expected);
}

TEST_CASE_FIXTURE(QuantizeTest, "what has its format already is copied, and a file may replace itself") {
  REQUIRE(run("Q5_K_S").ok());
  const std::string once = read_all(out);
  REQUIRE(quantize(out, out, {.type = "Q5_K_S"}).ok());
  CHECK(read_all(out) == once);
  REQUIRE(quantize(out, out, {.type = "F32"}).ok());
  CHECK(read_all(out).size() > 3 * once.size());
  CHECK(n_files() == 2);
}

TEST_CASE_FIXTURE(QuantizeTest, "progress grows to one, and stopping leaves what was there") {
  std::ofstream(out) << "before";
  std::vector<float> fractions;
  QuantizeOptions how;
  how.type = "Q8_0";
  how.progress = [&](float fraction) {
    fractions.push_back(fraction);
    return Flow::kContinue;
  };
  const std::size_t calls = [&] {
    REQUIRE(quantize(in, out, how).ok());
    return fractions.size();
  }();
  CHECK(fractions.front() == 0.0F);
  CHECK(fractions.back() == 1.0F);
  CHECK(std::is_sorted(fractions.begin(), fractions.end()));
  std::ofstream(out) << "before";
  for (std::size_t stop = 0; stop < calls; ++stop) {
    std::size_t call = 0;
    how.progress = [&](float) { return call++ == stop ? Flow::kStop : Flow::kContinue; };
    CHECK(quantize(in, out, how).code() == StatusCode::kCancelled);
    CHECK(read_all(out) == "before");
  }
  CHECK(n_files() == 2);
  MESSAGE("stopped at " << calls << " places");
}

void check_refused(const Result<void>& result, StatusCode code, const std::string& named) {
  CHECK(result.code() == code);
  CAPTURE(result.status().message());
  CHECK(result.status().message().find(named) != std::string::npos);
}

TEST_CASE_FIXTURE(QuantizeTest, "refusals name the thing and write nothing") {
  check_refused(run("Q9_X"), StatusCode::kInvalidArgument, "type \"Q9_X\"");
  check_refused(run("Q9_X"), StatusCode::kInvalidArgument, "Q4_K_M");
  check_refused(run(""), StatusCode::kInvalidArgument, "type");
  check_refused(run("Q4_0", -1), StatusCode::kInvalidArgument, "threads");
  check_refused(run("Q4_0", 1025), StatusCode::kInvalidArgument, "threads");
  check_refused(quantize(dir.file("none.gguf"), out, {.type = "Q4_0"}), StatusCode::kNotFound, "none.gguf");
  check_refused(quantize(in, dir.file("none/out.gguf"), {.type = "Q4_0"}), StatusCode::kIoError, "none/out.gguf");
  check_refused(quantize(in, std::string("a\0b", 3), {.type = "Q4_0"}), StatusCode::kInvalidArgument, "zero byte");
  check_refused(quantize(in, "/dev/full/out.gguf", {.type = "Q4_0"}), StatusCode::kIoError, "/dev/full");
  const std::string broken = dir.write("broken.gguf", std::as_bytes(std::span("GGUF\3\0\0\0 and more")));
  check_refused(quantize(broken, out, {.type = "Q4_0"}), StatusCode::kInvalidModel, "broken.gguf");
  const std::string whole = read_all(in);
  for (std::size_t length = 0; length < whole.size(); length = length * 3 / 2 + 7) {
    const std::string cut = dir.write("cut.gguf", std::as_bytes(std::span(whole).first(length)));
    CHECK(quantize(cut, out, {.type = "Q4_0"}).code() == StatusCode::kInvalidModel);
  }
  CHECK_FALSE(std::filesystem::exists(out));
}

TEST_CASE_FIXTURE(QuantizeTest, "a host's exception ends the call as a failure") {
  QuantizeOptions how;
  how.type = "Q4_0";
  how.progress = [](float) -> Flow { throw std::runtime_error("thrown by the host"); };
  check_refused(quantize(in, out, how), StatusCode::kInternal, "thrown by the host");
  CHECK(n_files() == 1);
}

}  // namespace
