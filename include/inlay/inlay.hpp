// inlay: GGUF in, tokens out. Start here.
//
//   auto model   = inlay::Model::open("model.gguf");
//   auto session = inlay::Session::create(*model);
//   auto prompt  = model->tokenizer().encode("The capital of France is");
//   session->prefill(*prompt);
//   auto answer  = session->generate({.max_tokens = 16});   // answer->text
//
// Every fallible call returns Result<T>; check ok() before use. Nothing here throws, prints or ends the process.
#pragma once

#include <inlay/device.hpp>
#include <inlay/model.hpp>
#include <inlay/profile.hpp>
#include <inlay/quantize.hpp>
#include <inlay/result.hpp>
#include <inlay/sampling.hpp>
#include <inlay/session.hpp>
#include <inlay/tokenizer.hpp>
#include <inlay/types.hpp>
#include <inlay/version.hpp>
