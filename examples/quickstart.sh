#!/usr/bin/env bash
# From a fresh clone to generated text: installs what is missing, builds, fetches a small model (98 MB, once), asks it.
# Usage: examples/quickstart.sh [prompt]
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/stages.sh
stage_silent_seconds=2

prompt=${1:-Explain in two sentences why the sky is blue.}
stage 'Installing packages' cmake/install_packages.sh build
stage 'Configuring' cmake --preset release
stage 'Building' cmake --build --preset release --target inlay-run
stage 'Fetching the model' examples/fetch_model.sh
model=$(tail -n 1 build/logs/Fetching-the-model.log)

# The model was trained on conversations in this form.
conversation="<|im_start|>user
$prompt<|im_end|>
<|im_start|>assistant
"
# A slight penalty: a model this small likes to repeat itself.
exec build/release/bin/inlay-run --model "$model" --special --prompt "$conversation" --max-tokens 200 \
  --repetition-penalty 1.03
