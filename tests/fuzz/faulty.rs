//! Readers with faults, which must be found: whether this program sees what it is there to see.

use super::Finding;
use super::scratch::Scratch;
use super::targets::Target;
use std::hint::black_box;
use std::time::Duration;

/// How long these may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Each has a fault that one input in some has, and how its worker then ends.
pub(crate) const FAULTY: &[Target] = &[
    faulty("faulty_panics", |_, bytes| assert!(!is_odd(bytes), "odd")),
    faulty("faulty_hoards", |_, bytes| drop(black_box(vec![1_u8; if is_odd(bytes) { 9 << 20 } else { 7 << 20 }]))),
    faulty("faulty_recurses", |_, bytes| {
        black_box(depth(if is_odd(bytes) { u64::MAX } else { 9 }));
    }),
    faulty("faulty_runs_on", |_, bytes| while is_odd(black_box(bytes)) {}),
];

const ENDS: [&str; 4] =
    ["made the reader panic", "memory allocation of 9437184 bytes failed", "overflowed its stack", "has no end"];

const fn faulty(name: &'static str, read: fn(&Scratch, &[u8])) -> Target {
    Target {
        name,
        memory: 8,
        runs: 2_000,
        seeds: &["tests/golden/tables/pandas.csv"],
        dictionary: &[],
        mend: |_| {},
        read,
    }
}

/// What the worker of a target with a fault ends with; `None` for all others.
pub(crate) fn expected(target: &Target) -> Option<&'static str> {
    FAULTY.iter().position(|faulty| faulty.name == target.name).map(|at| ENDS[at])
}

/// That a fault was not found, or as another one.
pub(crate) fn missed(found: &Finding, is_right: bool, expected: &str) -> Option<String> {
    let _ = std::fs::remove_file(&found.file);
    (is_right || !found.what.contains(expected)).then(|| format!("expected `{expected}`, found {}", found.what))
}

/// One input in a hundred or so.
fn is_odd(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)) == 7
}

fn depth(left: u64) -> u64 {
    if left == 0 { 0 } else { 1 + black_box(depth(black_box(left - 1))) }
}
