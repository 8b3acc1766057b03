//! Patience with a place that many ask over a network: what broke off is asked again, as often as it may go well.

use super::{Error, Listed, Object, Objects, Version};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often something is asked, and what is waited before the second time; doubled with each.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(150);

/// A place whose every answer is waited for patiently, but for [`copy`](Objects::copy): what it has written cannot be taken back, so
/// whoever asked begins anew.
#[derive(Debug)]
pub(super) struct Patient(pub(super) Arc<dyn Objects>);

/// Asks until there is an answer. To write again what may have been written is safe: `create` and `replace` find their own words.
fn patiently<T>(ask: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match ask() {
            Err(Error::Unreachable(_)) => std::thread::sleep(pause),
            answer => return answer,
        }
        pause *= 2;
    }
    ask()
}

impl Objects for Patient {
    fn get(&self, name: &str) -> Result<Option<Object>, Error> {
        patiently(|| self.0.get(name))
    }

    fn copy(&self, name: &str, into: &mut dyn std::io::Write) -> Result<bool, Error> {
        self.0.copy(name, into)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        patiently(|| self.0.size(name))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        patiently(|| self.0.put(name, bytes))
    }

    fn send(&self, name: &str, file: &Path) -> Result<(), Error> {
        patiently(|| self.0.send(name, file))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Error> {
        patiently(|| self.0.create(name, bytes))
    }

    fn replace(&self, name: &str, bytes: &[u8], version: &Version) -> Result<Option<Version>, Error> {
        patiently(|| self.0.replace(name, bytes, version))
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        patiently(|| self.0.remove(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        patiently(|| self.0.list(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_broke_off_is_asked_again_and_what_was_refused_is_not() {
        let asked = Cell::new(0);
        let ask = |succeeds_at: u32, error: fn(String) -> Error| {
            asked.set(0);
            patiently(|| {
                asked.set(asked.get() + 1);
                if asked.get() == succeeds_at { Ok(()) } else { Err(error("no".to_owned())) }
            })
        };
        assert!(ask(3, Error::Unreachable).is_ok());
        assert_eq!(asked.get(), 3);
        assert!(matches!(ask(3, Error::Refused), Err(Error::Refused(_))));
        assert_eq!(asked.get(), 1);
    }
}
