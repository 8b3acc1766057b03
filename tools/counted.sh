#!/usr/bin/env bash
# In place of rustc (RUSTC_WORKSPACE_WRAPPER, `tools/fuzz.sh`): the library with a counter of 8 bits on each edge of its control flow,
# which LLVM's SanitizerCoverage adds. `tests/fuzz/coverage.rs` reads them; in the program nobody does, so that is linked without a
# reader and must not be started.
rustc=$1
shift
case " $* " in
*" --crate-name spot "*" --crate-type lib "*)
    set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    ;;
*" --crate-name spot "*" --crate-type bin "*)
    set -- "$@" -Clink-arg=-Wl,--unresolved-symbols=ignore-all
    ;;
esac
exec "$rustc" "$@"
