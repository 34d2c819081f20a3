// Uses the C++ API of an installed inlay: consumer_cpp [MODEL]. Without a model it shows how a failure looks.
#include <cstdio>
#include <inlay/inlay.hpp>

static inlay::Result<std::string> generate(const char* path) {
  const auto model = inlay::Model::open(path);
  if (!model) return model.status();
  const auto prompt = model->tokenizer().encode("hello");
  if (!prompt) return prompt.status();
  auto session = inlay::Session::create(*model);
  if (!session) return session.status();
  if (const auto evaluated = session->prefill(*prompt); !evaluated) return evaluated.status();
  auto answer = session->generate({});
  if (!answer) return answer.status();
  return answer->text;
}

int main(int argc, char** argv) {
  const auto text = generate(argc > 1 ? argv[1] : "no such model.gguf");
  std::printf("inlay %s, %s: %s\n", inlay::version_string(), inlay::to_string(text.code()),
              text ? text->c_str() : text.status().message().c_str());
  return text.code() == (argc > 1 ? inlay::StatusCode::kOk : inlay::StatusCode::kNotFound) ? 0 : 1;
}
