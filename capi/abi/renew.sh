#!/usr/bin/env bash
# Builds the C library and makes it and inlay.h the baseline of the ABI. A break needs an entry in CHANGELOG.md as well.
# Usage: capi/abi/renew.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

cmake --preset dev
cmake --build --preset dev --target inlay_c_shared
python3 tests/tools/check_abi.py --baseline capi/abi --headers include --nm nm --library build/dev/libinlay_c.so --renew
git --no-pager diff --stat -- capi/abi
