//! Which branches of the code an input reaches, where the build counts them (`tools/fuzz.sh`): LLVM's SanitizerCoverage with a counter
//! of 8 bits for each edge. In any other build there are no counters, and inputs are drawn blindly.

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
    /// Where counters are, and how many. There are no references to them, since instrumented code writes whenever it runs.
    counters: Vec<(usize, usize)>,
    /// For each edge the classes that were seen, a bit each.
    seen: Vec<u8>,
}

impl Coverage {
    /// Nothing seen.
    pub(crate) fn new() -> Self {
        let ranges = COUNTERS.lock().unwrap();
        let counters: Vec<(usize, usize)> = ranges.iter().map(|(start, stop)| (*start, stop - start)).collect();
        let edges = counters.iter().map(|(_, edges)| edges).sum();
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
        let (mut first, mut is_new) = (0, false);
        for (start, edges) in &self.counters {
            for at in (0..*edges).step_by(WORD) {
                let end = (*edges).min(at + WORD);
                // Most are 0.
                if end - at == WORD && word(start + at) == 0 {
                    continue;
                }
                for edge in at..end {
                    let (class, seen) = (class(taken(start + edge)), &mut self.seen[first + edge]);
                    is_new |= *seen & class != class;
                    *seen |= class;
                }
            }
            first += edges;
        }
        is_new
    }
}

/// Counters that are looked at together.
const WORD: usize = size_of::<u64>();

/// The counters from an address on, as one number.
fn word(address: usize) -> u64 {
    // SAFETY: it is among LLVM's counters, which live as long as the program, with `WORD - 1` behind it. Another thread may add to one
    // meanwhile; a lost addition costs a class at most.
    unsafe { (address as *const u64).read_unaligned() }
}

/// The counter at an address, which is 0 afterwards.
fn taken(address: usize) -> u8 {
    // SAFETY: as for `word`.
    unsafe { std::ptr::replace(address as *mut u8, 0) }
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
