#!/usr/bin/env bash
# A long run of a reader of `tests/fuzz`, guided by which branches of this package inputs reach:
#
#     tools/fuzz.sh csv [--seconds 600] [--to 10000000] [--seed 1]
#
# Inputs that reach something new are kept in target/fuzz/NAME, and the next run begins with them. Only this package is compiled
# anew, by the stable compiler; its dependencies stay as they are and are not counted.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
shift
export RUSTC_WORKSPACE_WRAPPER=$PWD/tools/counted.sh
built=$(${CARGO:-cargo} test --locked --test fuzz --no-run 2>&1 | tee /dev/stderr)
program=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' <<<"$built")
exec "$program" --long "$name" --kept "target/fuzz/$name" "$@"
