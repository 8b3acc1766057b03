//! Seals: digests that cover a text, in a hash domain for each kind of text, so that edits and damage are noticed.

use super::digest::Digest;

/// The seal of a text of the kind that `context` names.
pub(super) fn seal(context: &str, text: &str) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(text.as_bytes());
    Digest::from_hasher(&hasher)
}
