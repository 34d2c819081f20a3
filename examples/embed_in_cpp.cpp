#include <cstdio>
#include <inlay/inlay.hpp>

int main(int argc, char** argv) {
  auto model = inlay::Model::open(argc > 1 ? argv[1] : "model.gguf");
  if (!model.ok()) return std::puts(model.status().message().c_str()), 1;

  auto session = inlay::Session::create(*model);
  auto prompt = model->tokenizer().encode("The capital of France is");
  if (!session.ok() || !prompt.ok() || !session->prefill(*prompt).ok()) return 1;

  auto answer = session->generate({});
  if (!answer.ok()) return 1;
  std::puts(answer->text.c_str());
}
