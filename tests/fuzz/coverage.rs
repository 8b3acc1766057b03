//! Which branches of the code an input reaches, where the build counts them (`tools/fuzz.sh`): LLVM's SanitizerCoverage with a counter
//! of 8 bits for each edge. In any other build there are no counters, and inputs are drawn blindly.

use std::slice;
use std::sync::Mutex;

/// The counters of the program, as addresses; LLVM announces them once for each object file.
static COUNTERS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// What instrumented object files call before `main`.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let range = (start as usize, stop as usize);
    let mut known = COUNTERS.lock().unwrap();
    if range.0 < range.1 && !known.contains(&range) {
        known.push(range);
    }
}

/// How often edges were taken, in classes as AFL has them.
pub(crate) struct Coverage {
    counters: Vec<&'static mut [u8]>,
    /// For each edge the classes that were seen, a bit each.
    seen: Vec<u8>,
}

impl Coverage {
    /// Nothing seen. To be made once.
    pub(crate) fn new() -> Self {
        let ranges = COUNTERS.lock().unwrap().clone();
        let counters: Vec<&'static mut [u8]> = ranges
            .into_iter()
            .map(|(start, stop)| {
                // SAFETY: LLVM's counters live as long as the program; instrumented code adds to single bytes, of which a lost
                // addition costs a class at most, and nobody else has a reference.
                unsafe { slice::from_raw_parts_mut(start as *mut u8, stop - start) }
            })
            .collect();
        let edges = counters.iter().map(|counters| counters.len()).sum();
        Self { counters, seen: vec![0; edges] }
    }

    /// Whether the build counts.
    pub(crate) fn is_counted(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Number of edges that were reached.
    pub(crate) fn edges(&self) -> usize {
        self.seen.iter().filter(|classes| **classes != 0).count()
    }

    /// Takes what was counted since the last time; whether it reached anything new.
    pub(crate) fn take(&mut self) -> bool {
        let (mut at, mut is_new) = (0, false);
        for counters in &mut self.counters {
            for (counters, seen) in counters.chunks_mut(8).zip(self.seen[at..].chunks_mut(8)) {
                // Most are 0.
                if counters.iter().all(|count| *count == 0) {
                    continue;
                }
                for (count, seen) in counters.iter_mut().zip(seen) {
                    let class = class(std::mem::take(count));
                    is_new |= *seen & class != class;
                    *seen |= class;
                }
            }
            at += counters.len();
        }
        is_new
    }
}

/// 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127, more.
fn class(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}
