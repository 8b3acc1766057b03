//! What a caught panic has to say.

use std::any::Any;

/// The message of a panic, from what `catch_unwind` gives.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{catch_unwind, panic_any};

    #[test]
    fn literal_and_formatted_messages_are_found() {
        let said = |run: fn()| message(&*catch_unwind(run).unwrap_err()).to_owned();
        let number = 1;
        assert_eq!(said(|| panic!("literal")), "literal");
        assert_eq!(message(&*catch_unwind(move || panic!("formatted {number}")).unwrap_err()), "formatted 1");
        assert_eq!(said(|| panic_any(7)), "without a message");
    }
}
