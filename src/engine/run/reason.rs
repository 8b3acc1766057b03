//! Why a job is in its state.

use crate::engine::store::recipe::Difference;
use serde::{Serialize, Serializer};
use std::fmt;

/// Why a job is in its state.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Nothing of its name and kind ran in this pipeline before.
    NeverSeen,
    /// It differs from its own last entry.
    Changed(Difference),
    /// Its own last entry is gone or unusable, though nothing is known to differ from it.
    Gone,
    /// Something in the store is damaged.
    Damaged(String),
    /// The user asked for it.
    Forced,
    /// A job upstream is not done.
    Upstream(String),
    /// It asks for more jobs once its inputs are known; at most this many.
    Expands(usize),
    /// It is blocked, for this reason.
    Cannot(String),
    /// Its result is in this place that machines share.
    Shared(String),
    /// Its entry was made then, for that job.
    Made {
        /// When.
        end: String,
        /// The job that it was made for.
        job: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverSeen => f.write_str("never seen"),
            Self::Changed(difference) => difference.fmt(f),
            Self::Gone => f.write_str("its entry is gone"),
            Self::Damaged(what) | Self::Cannot(what) => f.write_str(what),
            Self::Forced => f.write_str("forced"),
            Self::Upstream(job) => write!(f, "depends on `{job}`"),
            Self::Expands(most) => write!(f, "asks for more jobs once its inputs are known, at most {most}"),
            Self::Shared(place) => write!(f, "its result is in `{place}`"),
            Self::Made { end, job } => write!(f, "made {end} for `{job}`"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
