// Every function that takes a struct, called as programs call it that were built with an older or a newer inlay.h.
#include <inlay.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "../../capi/handles.hpp"
#include "capi/tiny.hpp"

namespace {

using namespace inlay::test;  // NOLINT(google-build-using-namespace)

/// The caller's memory: a struct of `size` bytes, and behind it bytes that are not the library's to read or write. Read
/// as fields, they are values that every function refuses.
class CallersStruct {
 public:
  explicit CallersStruct(std::size_t size)
      : bytes_((size + kBehind + sizeof(size_t) - 1) / sizeof(size_t)), size_(size) {
    std::memset(bytes_.data(), 0xFF, bytes_.size() * sizeof(size_t));
    bytes_.front() = size;
  }
  [[nodiscard]] void* get() { return bytes_.data(); }
  [[nodiscard]] unsigned char* at(std::size_t offset) {
    return reinterpret_cast<unsigned char*>(bytes_.data()) + offset;
  }
  [[nodiscard]] bool is_whole() {
    return bytes_.front() == size_ &&
           std::all_of(at(size_), at(bytes_.size() * sizeof(size_t)), [](unsigned char byte) { return byte == 0xFF; });
  }

 private:
  static constexpr std::size_t kBehind = 256;
  std::vector<std::size_t> bytes_;  // aligned as a struct is
  std::size_t size_;
};

struct SizeCase {
  std::string function;
  std::string structure;
  std::size_t first_size;                        // of the struct's first version
  std::size_t size;                              // of this version
  std::function<void(void*, std::size_t)> init;  // empty: a struct that the function fills
  std::function<inlay_status(void*, inlay_error**)> call;
};

template <class Struct>
std::function<void(void*, std::size_t)> init_with(void (*init)(Struct*, std::size_t)) {
  return [init](void* options, std::size_t size) { init(static_cast<Struct*>(options), size); };
}

std::vector<SizeCase> model_cases(const TinyFixture& tiny) {
  const char* path = tiny.path.c_str();
  const inlay_model* model = tiny.model.get();
  const auto options_init = init_with(inlay_model_options_init);
  return {
      {"inlay_device_get",
       "inlay_device_info",
       184,
       sizeof(inlay_device_info),
       {},
       [](void* s, inlay_error** e) { return inlay_device_get(0, static_cast<inlay_device_info*>(s), e); }},
      {"inlay_model_get_device",
       "inlay_device_info",
       184,
       sizeof(inlay_device_info),
       {},
       [=](void* s, inlay_error** e) { return inlay_model_get_device(model, static_cast<inlay_device_info*>(s), e); }},
      {"inlay_model_get_info",
       "inlay_model_info",
       96,
       sizeof(inlay_model_info),
       {},
       [=](void* s, inlay_error** e) { return inlay_model_get_info(model, static_cast<inlay_model_info*>(s), e); }},
      {"inlay_model_estimate",
       "inlay_memory_estimate",
       32,
       sizeof(inlay_memory_estimate),
       {},
       [=](void* s, inlay_error** e) {
         return inlay_model_estimate(path, 0, nullptr, static_cast<inlay_memory_estimate*>(s), e);
       }},
      {"inlay_model_estimate", "inlay_model_options", 80, sizeof(inlay_model_options), options_init,
       [=](void* s, inlay_error** e) {
         inlay_memory_estimate estimate = {sizeof estimate, 0, 0, 0};
         return inlay_model_estimate(path, 0, static_cast<inlay_model_options*>(s), &estimate, e);
       }},
      {"inlay_model_open", "inlay_model_options", 80, sizeof(inlay_model_options), options_init,
       [=](void* s, inlay_error** e) {
         ModelHandle opened;
         return inlay_model_open(path, static_cast<inlay_model_options*>(s), opened.out(), e);
       }},
  };
}

/// Functions that take a file from elsewhere; what the source says is what the first version of the struct can say.
std::vector<SizeCase> source_cases(const TinyFixture& tiny, const std::vector<std::byte>& file) {
  const auto source_init = [&file](void* s, std::size_t size) {
    auto* source = static_cast<inlay_model_source*>(s);
    inlay_model_source_init(source, size);
    if (size < sizeof(inlay_model_source)) return;
    source->data = file.data();
    source->size = file.size();
  };
  const auto in_memory = [&file] {
    return inlay_model_source{sizeof(inlay_model_source), file.data(), nullptr, nullptr, file.size()};
  };
  const std::string out = tiny.dir.file("out.gguf");
  return {
      {"inlay_model_open_source", "inlay_model_source", 40, sizeof(inlay_model_source), source_init,
       [](void* s, inlay_error** e) {
         ModelHandle opened;
         return inlay_model_open_source(static_cast<inlay_model_source*>(s), nullptr, opened.out(), e);
       }},
      {"inlay_model_open_source", "inlay_model_options", 80, sizeof(inlay_model_options),
       init_with(inlay_model_options_init),
       [=](void* s, inlay_error** e) {
         ModelHandle opened;
         const inlay_model_source source = in_memory();
         return inlay_model_open_source(&source, static_cast<inlay_model_options*>(s), opened.out(), e);
       }},
      {"inlay_model_estimate_source", "inlay_model_source", 40, sizeof(inlay_model_source), source_init,
       [](void* s, inlay_error** e) {
         inlay_memory_estimate estimate = {sizeof estimate, 0, 0, 0};
         return inlay_model_estimate_source(static_cast<inlay_model_source*>(s), 0, nullptr, &estimate, e);
       }},
      {"inlay_model_estimate_source", "inlay_model_options", 80, sizeof(inlay_model_options),
       init_with(inlay_model_options_init),
       [=](void* s, inlay_error** e) {
         inlay_memory_estimate estimate = {sizeof estimate, 0, 0, 0};
         const inlay_model_source source = in_memory();
         return inlay_model_estimate_source(&source, 0, static_cast<inlay_model_options*>(s), &estimate, e);
       }},
      {"inlay_model_estimate_source",
       "inlay_memory_estimate",
       32,
       sizeof(inlay_memory_estimate),
       {},
       [=](void* s, inlay_error** e) {
         const inlay_model_source source = in_memory();
         return inlay_model_estimate_source(&source, 0, nullptr, static_cast<inlay_memory_estimate*>(s), e);
       }},
      {"inlay_quantize", "inlay_quantize_options", 56, sizeof(inlay_quantize_options),
       [](void* s, std::size_t size) {
         auto* options = static_cast<inlay_quantize_options*>(s);
         inlay_quantize_options_init(options, size);
         if (size >= offsetof(inlay_quantize_options, threads)) options->type = "F32";
       },
       [=, path = tiny.path](void* s, inlay_error** e) {
         return inlay_quantize(path.c_str(), out.c_str(), static_cast<inlay_quantize_options*>(s), e);
       }},
  };
}

std::vector<SizeCase> session_cases(const TinyFixture& tiny, inlay_session* session) {
  const inlay_model* model = tiny.model.get();
  const auto sampling_init = init_with(inlay_sampling_options_init);
  return {
      {"inlay_session_create", "inlay_session_options", 24, sizeof(inlay_session_options),
       init_with(inlay_session_options_init),
       [=](void* s, inlay_error** e) {
         SessionHandle created;
         return inlay_session_create(model, static_cast<inlay_session_options*>(s), created.out(), e);
       }},
      {"inlay_session_create", "inlay_sampling_options", 48, sizeof(inlay_sampling_options), sampling_init,
       [=](void* s, inlay_error** e) {
         SessionHandle created;
         inlay_session_options options;
         inlay_session_options_init(&options, sizeof options);
         options.sampling = static_cast<inlay_sampling_options*>(s);
         return inlay_session_create(model, &options, created.out(), e);
       }},
      {"inlay_session_set_sampling", "inlay_sampling_options", 48, sizeof(inlay_sampling_options), sampling_init,
       [=](void* s, inlay_error** e) {
         return inlay_session_set_sampling(session, static_cast<inlay_sampling_options*>(s), e);
       }},
      {"inlay_session_generate", "inlay_generate_options", 32, sizeof(inlay_generate_options),
       init_with(inlay_generate_options_init),
       [=](void* s, inlay_error** e) {
         return inlay_session_generate(session, static_cast<inlay_generate_options*>(s), nullptr, e);
       }},
  };
}

/// A profile that no device has made.
std::vector<SizeCase> profile_cases() {
  static const inlay_profile profile = {{1.0, 2.0, {{inlay::PassStep::kHead, -1, 3.0, 4}}}};
  return {
      {"inlay_profile_get_pass",
       "inlay_pass_profile",
       32,
       sizeof(inlay_pass_profile),
       {},
       [](void* s, inlay_error** e) {
         return inlay_profile_get_pass(&profile, static_cast<inlay_pass_profile*>(s), e);
       }},
      {"inlay_profile_get_step",
       "inlay_step_profile",
       32,
       sizeof(inlay_step_profile),
       {},
       [](void* s, inlay_error** e) {
         return inlay_profile_get_step(&profile, 0, static_cast<inlay_step_profile*>(s), e);
       }},
  };
}

struct SizedSession {
  TinyFixture tiny;
  SessionHandle session;
  bool ready = inlay_session_create(tiny.model.get(), nullptr, session.out(), nullptr) == INLAY_OK &&
               inlay_session_prefill(session.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK;
  std::vector<std::byte> file = make_tiny_model({});
  std::vector<SizeCase> cases = model_cases(tiny);
  SizedSession() {
    for (SizeCase& one : source_cases(tiny, file)) cases.push_back(std::move(one));
    for (SizeCase& one : session_cases(tiny, session.get())) cases.push_back(std::move(one));
    for (SizeCase& one : profile_cases()) cases.push_back(std::move(one));
  }
};

/// Calls with a struct of `size` bytes, whose bytes that this version does not know are `beyond`.
inlay_status call_with(const SizeCase& one, std::size_t size, unsigned char beyond, Error& error) {
  CallersStruct memory(size);
  if (one.init) one.init(memory.get(), size);
  if (size > one.size) std::memset(memory.at(one.size), beyond, size - one.size);
  const inlay_status status = one.call(memory.get(), error.out());
  CHECK_MESSAGE(memory.is_whole(), one.function, " wrote behind a struct of ", size, " bytes");
  if (!one.init && status == INLAY_OK && size > one.size) CHECK(*memory.at(size - 1) == 0);
  return status;
}

TEST_CASE("every function accepts its structs in every older and in a newer size") {
  const SizedSession fixture;
  REQUIRE(fixture.ready);
  int calls = 0;
  for (const SizeCase& one : fixture.cases) {
    CAPTURE(one.function);
    CAPTURE(one.structure);
    REQUIRE(one.first_size <= one.size);
    for (std::size_t size = one.first_size; size <= one.size + 16; size += 8, ++calls) {
      CAPTURE(size);
      Error error;
      const inlay_status status = call_with(one, size, 0, error);
      CHECK_MESSAGE(status == INLAY_OK, message(error));
    }
  }
  MESSAGE(fixture.cases.size(), " uses of structs, ", calls, " calls");
}

TEST_CASE("a struct below its first version, absurd, or with unknown fields set is refused by name") {
  const SizedSession fixture;
  REQUIRE(fixture.ready);
  for (const SizeCase& one : fixture.cases) {
    CAPTURE(one.function);
    const std::string expected = one.structure + ".struct_size: expected " + std::to_string(one.first_size);
    for (const std::size_t size : {std::size_t{8}, one.first_size - 1, std::size_t{4097}}) {
      Error error;
      CHECK(call_with(one, size, 0, error) == INLAY_INVALID_ARGUMENT);
      CHECK_MESSAGE(message(error).find(expected) == 0, message(error));
    }
    if (!one.init) continue;
    Error error;
    CHECK(call_with(one, one.size + 8, 1, error) == INLAY_INVALID_ARGUMENT);
    CHECK_MESSAGE(message(error).find(one.structure + ": sets a field") == 0, message(error));
  }
}

/// What the regular expression's first group is at every match.
std::set<std::string> all_matches(const std::string& text, const std::regex& expression) {
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), expression), end; match != end; ++match) {
    found.insert((*match)[1]);
  }
  return found;
}

TEST_CASE("the cases above are all functions of inlay.h that take a struct") {
  std::ifstream file(INLAY_TEST_HEADER);
  const std::string header{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto structs = all_matches(header, std::regex(R"(typedef struct (inlay_\w+) \{\s+size_t struct_size;)"));
  REQUIRE(structs.size() >= 7);

  const SizedSession fixture;
  std::set<std::string> covered;
  std::set<std::string> used;
  for (const SizeCase& one : fixture.cases) {
    covered.insert(one.function + " " + one.structure);
    used.insert(one.structure);
  }
  for (const std::string& name : structs) {
    CHECK_MESSAGE(used.count(name) == 1, name, " is in no case");
    // up to the end of the declaration; `_init` functions are called by the cases of their struct
    const std::regex taking("INLAY_C_API inlay_status (inlay_\\w+)\\([^;]*\\b" + name + "\\* [^;]*;");
    for (const std::string& function : all_matches(header, taking)) {
      CHECK_MESSAGE(covered.count(function + " " + name) == 1, function, " with ", name, " is in no case");
    }
  }
}

}  // namespace
