//! Checksums of a hub: SHA-256 of a large file, and git's hash of a small one.

use super::repo::is_hex;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// What a hub promises of the content of a file. It names the blob in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checksum(String);

impl Checksum {
    /// Of an `ETag`: `"…"`, `W/"…"`, or bare. Nothing if it is neither of the two.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        let etag = etag.trim();
        let bare = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
        (is_hex(bare) && matches!(bare.len(), 40 | 64)).then(|| Self(bare.to_owned()))
    }

    /// In base 16.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Begins to hash a file of this size.
    pub(super) fn start(&self, size: u64) -> Hasher {
        if self.0.len() == 64 {
            return Hasher(Context::new(&SHA256));
        }
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(format!("blob {size}\0").as_bytes());
        Hasher(context)
    }

    /// For messages.
    pub(super) fn algorithm(&self) -> &'static str {
        if self.0.len() == 64 { "SHA-256" } else { "git hash" }
    }
}

/// The hash of a file that is coming.
pub(super) struct Hasher(Context);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes, in base 16.
    pub(super) fn finish(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(etag: &str, bytes: &[u8]) -> String {
        let mut hasher = Checksum::of_etag(etag).unwrap().start(bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn both_hashes_are_those_of_git() {
        // `printf 'hello\n' | git hash-object --stdin`, and `sha256sum`.
        assert_eq!(hash(&"0".repeat(40), b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(
            hash(&"0".repeat(64), b"hello\n"),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
    }

    #[test]
    fn an_etag_that_is_no_checksum_names_no_file() {
        let forty = "a".repeat(40);
        for good in [format!("\"{forty}\""), format!("W/\"{forty}\""), forty.clone()] {
            assert_eq!(Checksum::of_etag(&good).unwrap().as_str(), forty);
        }
        for bad in ["", "\"../../x\"", "\"5f-62\"", &"A".repeat(40), &"a".repeat(41)] {
            assert_eq!(Checksum::of_etag(bad), None, "{bad}");
        }
    }
}
