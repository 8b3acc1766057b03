//! Digests: blake3 of bytes. A digest names a blob; a key names a recipe. The two are different types.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// blake3 of some bytes, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// blake3 of a recipe, in a hash domain of its own; names an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A finished hash.
    pub fn from_hasher(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }
}

impl Key {
    /// The key of a recipe in its canonical form.
    pub fn of(canonical_recipe: &[u8]) -> Self {
        Self(blake3::derive_key("spot recipe v1", canonical_recipe))
    }
}

/// Text that is not a digest or key.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not 64 hexadecimal digits")]
pub struct NotHex(String);

fn parse(text: &str) -> Result<[u8; 32], NotHex> {
    let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let hash = lower.then(|| blake3::Hash::from_hex(text).ok()).flatten();
    hash.map(|hash| *hash.as_bytes()).ok_or_else(|| NotHex(text.to_owned()))
}

macro_rules! hexadecimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<Self, NotHex> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl $name {
            /// The hash itself.
            pub fn bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The one that is this hash.
            pub fn from_bytes(hash: [u8; 32]) -> Self {
                Self(hash)
            }

            /// The first 12 digits, for people.
            pub fn short(&self) -> String {
                format!("{self:.12}")
            }
        }
    };
}

hexadecimal!(Digest);
hexadecimal!(Key);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_blake3_in_hexadecimal_and_reads_back() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.short(), "af1349b9f5f9");
        assert!("AF1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262".parse::<Digest>().is_err());
        assert!("af13".parse::<Digest>().is_err());
    }

    #[test]
    fn a_key_and_a_digest_of_the_same_bytes_differ() {
        assert_ne!(Key::of(b"x").to_string(), Digest::of(b"x").to_string());
    }
}
