//! Panics of others that are errors here: caught without a word on standard error, what they have to say, and locks that
//! outlive them.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs code that panics on some input; gives its message then, of which nothing is printed.
///
/// # Errors
/// The message of the panic.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                previous(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(before);
    done.map_err(|panic| message(&*panic).to_owned())
}

/// The message of a panic, from what `catch_unwind` gives.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// Locks a mutex. That somebody panicked while holding it is no reason to panic too: what these guard is whole at every instant.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::panic_any;

    #[test]
    fn literal_and_formatted_messages_are_found() {
        let said = |run: fn()| message(&*catch_unwind(run).unwrap_err()).to_owned();
        let number = 1;
        assert_eq!(said(|| panic!("literal")), "literal");
        assert_eq!(message(&*catch_unwind(move || panic!("formatted {number}")).unwrap_err()), "formatted 1");
        assert_eq!(said(|| panic_any(7)), "without a message");
    }

    #[test]
    fn a_caught_panic_is_an_error_and_later_ones_are_heard_again() {
        assert_eq!(caught(|| 3), Ok(3));
        assert_eq!(caught(|| panic!("first")), Err::<(), _>("first".to_owned()));
        assert!(!QUIET.get());
        assert_eq!(caught(|| caught(|| panic!("inner")).is_err() && QUIET.get()), Ok(true));
    }
}
