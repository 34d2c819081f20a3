#!/usr/bin/env bash
# Installs the Debian packages that are missing, if run as root; else prints the one line to type.
# Usage: cmake/install_packages.sh build|ci      (build: library, examples, tests, benchmarks; ci: the checkers as well)
set -euo pipefail

# package and how to notice that it is there: a command, a header, or a library of clang's
packages=(
  g++=c++ cmake=cmake ninja-build=ninja pkg-config=pkg-config python3=python3 python3-pip=pip3
  libpcre2-dev=pcre2.h libxxhash-dev=xxhash.h libcli11-dev=CLI/CLI.hpp nlohmann-json3-dev=nlohmann/json.hpp
  doctest-dev=doctest/doctest.h libbenchmark-dev=benchmark/benchmark.h
)
if [ "${1:-build}" = ci ]; then
  packages+=(clang=clang++ clang-format=clang-format clang-tidy=clang-tidy gcovr=gcovr ccache=ccache
             abigail-tools=abidiff dpkg-dev=dpkg-shlibdeps file=file
             doxygen=doxygen golang-go=go cargo=cargo rustc=rustc
             libclang-rt-14-dev='libclang_rt.fuzzer-*.a')  # libFuzzer, and the sanitizers for clang
fi

is_present() {
  case $1 in
    *.h | *.hpp) [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ] ;;
    *.a) compgen -G "/usr/lib/llvm-*/lib/clang/*/lib/*/$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
for entry in "${packages[@]}"; do
  is_present "${entry#*=}" || missing+=("${entry%%=*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command_line="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  printf 'These packages are missing. On Debian or Ubuntu, type:\n\n  sudo %s\n\n' "$command_line" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
$command_line
