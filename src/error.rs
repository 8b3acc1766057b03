//! What the program exits with.

use crate::engine::manifest::LoadError;
use crate::engine::run::Fault;
use crate::engine::store::{Damage, InUse};
use std::io;

/// How the program ends. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything is as it should be.
    Ok,
    /// A job failed.
    JobFailed,
    /// The command line or the manifest is wrong.
    Usage,
    /// Something in the store is damaged.
    Integrity,
    /// Something is locked by another process.
    Locked,
    /// The machine is not up to it: no such device, disk full.
    Environment,
    /// There is work to do (`status --exit-code`).
    WorkToDo,
    /// Stopped by a signal.
    Interrupted,
}

/// A mistake on the command line that clap does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::JobFailed => 1,
            Self::Usage => 2,
            Self::Integrity => 3,
            Self::Locked => 4,
            Self::Environment => 5,
            Self::WorkToDo => 10,
            Self::Interrupted => 130,
        }
    }

    /// How the program ends with this error. A reader that closed the pipe has seen enough, which is not an error.
    pub fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if cause.is::<Usage>() || cause.is::<LoadError>() {
                return Self::Usage;
            }
            if cause.is::<InUse>() {
                return Self::Locked;
            }
            if cause.is::<Damage>() {
                return Self::Integrity;
            }
            if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return Self::Ok;
            }
        }
        Fault::of(error).into()
    }
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Job => Self::JobFailed,
            Fault::Integrity => Self::Integrity,
            Fault::Environment => Self::Environment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn kinds_of_failure_decide_the_exit_code() {
        let io = |kind: io::ErrorKind| Exit::of(&anyhow::Error::from(io::Error::from(kind)).context("while writing"));
        assert_eq!(io(io::ErrorKind::StorageFull).code(), 5);
        assert_eq!(io(io::ErrorKind::BrokenPipe).code(), 0);
        assert_eq!(io(io::ErrorKind::PermissionDenied).code(), 1);
        assert_eq!(Exit::of(&anyhow::Error::from(Usage(String::new()))).code(), 2);
        assert_eq!(Exit::of(&anyhow::Error::from(InUse("cache".into()))).code(), 4);
        let damage = Damage::Entry { key: crate::engine::store::digest::Key::of(b""), why: String::new() };
        assert_eq!(Exit::of(&Err::<(), _>(damage).context("while reading").unwrap_err()).code(), 3);
    }
}
