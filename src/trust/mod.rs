//! Signatures that do not need us: keys, envelopes and statements in the forms that other tools verify. Knows no store and no job.

pub mod envelope;
pub mod key;
pub mod model;
pub mod statement;

pub use envelope::Envelope;
pub use key::{KeyKind, PublicKey, SecretKey};
pub use statement::{Sha256, Statement};
