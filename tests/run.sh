#!/usr/bin/env bash
# From a fresh clone to every test run: installs what is missing, fetches the model, builds, tests.
# Usage: tests/run.sh [preset]      (dev, release, asan-ubsan or tsan; dev by default)
# Builds the CUDA backend, too, where there is a compiler for it; its tests need a GPU and are skipped without one.
# The last line is "N passed, N failed, N skipped". The status is 0 if none failed.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/stages.sh

preset=${1:-dev}
report=$PWD/build/$preset/junit.xml
options=()
case $preset in
  dev | release) command -v nvcc >/dev/null && options=(-DINLAY_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90) ;;
esac

run_tests() {
  # ctest keeps the first bytes of a passed test's output only; the counts stand at the end.
  ctest --preset "$preset" --parallel "$(nproc)" --no-tests=error --output-junit "$report" \
    --test-output-size-passed 10000000 --test-output-size-failed 10000000
}

stage 'Installing packages' cmake/install_packages.sh build
stage 'Fetching the model' examples/fetch_model.sh
stage "Configuring $preset" cmake --preset "$preset" "${options[@]}"
stage "Building $preset" cmake --build --preset "$preset"
rm -f "$report"
status=0
stage "Testing $preset" run_tests || status=1
python3 tests/tools/count_tests.py "$report" || status=1
exit $status
