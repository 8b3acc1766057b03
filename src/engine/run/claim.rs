//! The claim on a key: nobody else makes its result meanwhile, on this machine by a lock, on others by a lease.

use crate::engine::store::Lock;
use crate::remote::lease::Lease;

/// A lock, and a lease where locks do not reach; free again when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// Dropped first, so that whoever waits on this machine finds the result here.
    pub(super) _lock: Lock,
    pub(super) _lease: Option<Lease>,
}
