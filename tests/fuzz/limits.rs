//! What reading one input may take: memory, counted by the allocator, and time, watched by a thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The status that a worker ends with when an input took too long.
pub(crate) const HUNG: i32 = 102;

/// The system's allocator, which gives nothing beyond a limit.
pub(crate) struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Lets the process allocate so many bytes more than it has now. Whoever asks for more gets nothing, as from a full machine: a reader
/// that asks without need ends the process, one that can do without goes on.
pub(crate) fn allow(bytes: usize) {
    LIMIT.store(LIVE.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

/// Takes the limit away.
pub(crate) fn allow_all() {
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}

fn take(bytes: usize) -> bool {
    let before = LIVE.fetch_add(bytes, Ordering::Relaxed);
    let fits = before.saturating_add(bytes) <= LIMIT.load(Ordering::Relaxed);
    if !fits {
        give_back(bytes);
    }
    fits
}

fn give_back(bytes: usize) {
    LIVE.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: whatever is given out comes from `System` with the layout that was asked for, and goes back to it with the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of `System`.
        given(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        given(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: `memory` came from `System` with this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `memory` came from `System` with this layout, and the caller promises a size that is right.
        let grown = given(size, || unsafe { System.realloc(memory, layout, size) });
        if !grown.is_null() {
            give_back(layout.size());
        }
        grown
    }
}

fn given(bytes: usize, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    if !take(bytes) {
        return null_mut();
    }
    let memory = allocate();
    if memory.is_null() {
        give_back(bytes);
    }
    memory
}

/// Lets the process address no more than it has now and so many bytes, which holds for what is not Rust too.
pub(crate) fn address_at_most(bytes: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some(pages * 4096 + bytes), maximum }).expect("limits can be lowered");
}

/// Milliseconds from the first input to when the present one began, and one more; 0 between inputs.
static BEGAN: AtomicU64 = AtomicU64::new(0);
static FIRST: OnceLock<Instant> = OnceLock::new();

fn now() -> u64 {
    FIRST.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// Says that an input is begun.
pub(crate) fn begin() {
    BEGAN.store(now(), Ordering::Relaxed);
}

/// Says that it was read.
pub(crate) fn end() {
    BEGAN.store(0, Ordering::Relaxed);
}

/// Starts the thread that ends the process when an input takes too long.
pub(crate) fn watch(patience: Duration) {
    now();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(patience / 20);
            let began = BEGAN.load(Ordering::Relaxed);
            if began != 0 && now().saturating_sub(began) > patience.as_millis() as u64 {
                allow_all();
                eprintln!("it took more than {patience:?}");
                std::process::exit(HUNG);
            }
        }
    });
}
