#!/usr/bin/env bash
# Builds the fuzz targets and runs each of them for some seconds, starting from its committed corpus.
# Usage: tests/fuzz/run.sh [SECONDS PER TARGET]      (15 by default)
# Inputs that reach something new are kept in build/fuzz/corpus, so that the next run goes on from there; an input that
# is a finding lies in build/fuzz/findings afterwards, and the status is 1. Without clang's libFuzzer: 77, skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-15}
build=build/fuzz
targets=(gguf tokenizer c_api)

probe='extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
if ! clang++ -x c++ -fsanitize=fuzzer -o /dev/null - <<<"$probe" 2>/dev/null; then
  echo 'skipped: clang++ with libFuzzer is missing (cmake/install_packages.sh ci)'
  exit 77
fi

cmake --preset fuzz
cmake --build --preset fuzz --target write_fuzz_seeds "${targets[@]/#/fuzz_}"
"$build/bin/write_fuzz_seeds" "$build/seeds"
mkdir -p "$build/logs" "$build/findings"

# Twice as many executions: short allocation stacks, and a small store of freed memory.
export ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=16
status=0
for target in "${targets[@]}"; do
  mkdir -p "$build/corpus/$target"
  log=$build/logs/$target.txt
  result=passed
  "$build/bin/fuzz_$target" -max_total_time="$seconds" -print_final_stats=1 -entropic=0 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$build/findings/${target}_" \
    "$build/corpus/$target" "tests/fuzz/corpus/$target" "$build/seeds/$target" 2>"$log" || result=FAILED
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  printf '%s: %s executions, %s\n' "$target" "${runs:-unknown}" "$result"
  if [ $result = FAILED ]; then
    status=1
    grep -m 1 -A 40 -E 'ERROR|broken promise|runtime error' "$log" || tail -n 40 "$log"
  fi
done
exit $status
