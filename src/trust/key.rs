//! Keys: Ed25519 (RFC 8032) and ECDSA on P-256 with SHA-256 (FIPS 186-5), in PEM as OpenSSL and `cryptography` read and write it.
//!
//! ```text
//! NAME.pub   -----BEGIN PUBLIC KEY-----    SubjectPublicKeyInfo (RFC 5280, 8410, 5480)
//! NAME.pem   -----BEGIN PRIVATE KEY-----   PKCS#8 version 1, not encrypted (RFC 5958)
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519};
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;

/// Bytes of the longest file that may be a key.
pub const LONGEST: u64 = 16 << 10;

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo.
const ED25519_PUBLIC: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before the 32 bytes of an Ed25519 seed in PKCS#8 version 1.
const ED25519_PRIVATE: &[u8] =
    &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands before the 65 bytes of an uncompressed point on P-256 in its SubjectPublicKeyInfo.
const P256_PUBLIC: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on the curve P-256.
    P256,
}

/// Whom a signature is checked against.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    kind: KeyKind,
    /// Ed25519: 32 bytes. P-256: 65, a point that is not compressed.
    raw: Vec<u8>,
}

/// Who signs.
pub struct SecretKey {
    pair: Pair,
    /// PKCS#8.
    der: Vec<u8>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// Why a text is not a key. It never quotes the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKey {
    /// No PEM at all.
    #[error(
        "is not a key in PEM; expected a file that begins with `-----BEGIN {expected}-----`, as `spot keygen` writes it"
    )]
    NoPem {
        /// What was looked for.
        expected: &'static str,
    },
    /// PEM of something else.
    #[error("has a `{found}`; expected a `{expected}`{hint}")]
    Other {
        /// What it is.
        found: String,
        /// What was looked for.
        expected: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Another algorithm, or damaged.
    #[error("is neither an Ed25519 nor a P-256 key, or it is damaged; `spot keygen` makes both kinds")]
    Algorithm,
}

impl KeyKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::P256 => "P-256",
        }
    }
}

impl PublicKey {
    /// Reads a key from PEM.
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_pem(text: &str) -> Result<Self, NotKey> {
        let der = from_pem(text, PUBLIC)?;
        for (kind, prefix, length) in [(KeyKind::Ed25519, ED25519_PUBLIC, 32), (KeyKind::P256, P256_PUBLIC, 65)] {
            if let Some(raw) = der.strip_prefix(prefix).filter(|raw| raw.len() == length) {
                return Ok(Self { kind, raw: raw.to_vec() });
            }
        }
        Err(NotKey::Algorithm)
    }

    /// The key in PEM.
    pub fn to_pem(&self) -> String {
        to_pem(PUBLIC, &self.der())
    }

    fn der(&self) -> Vec<u8> {
        let prefix = match self.kind {
            KeyKind::Ed25519 => ED25519_PUBLIC,
            KeyKind::P256 => P256_PUBLIC,
        };
        [prefix, &self.raw].concat()
    }

    /// What kind of key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// What the key is called where nobody gave it a name: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub fn id(&self) -> String {
        super::Sha256::of(&self.der()).to_string()
    }

    /// Whether `signature` was made of `message` by whoever has the secret key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let raw = &self.raw;
        match self.kind {
            KeyKind::Ed25519 => UnparsedPublicKey::new(&ED25519, raw).verify(message, signature).is_ok(),
            KeyKind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, raw).verify(message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.12}", self.kind.name(), self.id())
    }
}

impl SecretKey {
    /// A new key, by the system's source of randomness.
    ///
    /// # Errors
    /// If the system has none.
    pub fn generate(kind: KeyKind) -> Result<Self, NoRandomness> {
        let random = SystemRandom::new();
        let der = match kind {
            KeyKind::Ed25519 => {
                let mut seed = [0_u8; 32];
                random.fill(&mut seed).map_err(|_| NoRandomness)?;
                [ED25519_PRIVATE, &seed].concat()
            }
            KeyKind::P256 => {
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
                pkcs8.map_err(|_| NoRandomness)?.as_ref().to_vec()
            }
        };
        Self::from_der(der).map_err(|_| NoRandomness)
    }

    /// Reads a key from PEM.
    ///
    /// # Errors
    /// If it is something else, or encrypted.
    pub fn from_pem(text: &str) -> Result<Self, NotKey> {
        Self::from_der(from_pem(text, PRIVATE)?)
    }

    fn from_der(der: Vec<u8>) -> Result<Self, NotKey> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            return Ok(Self { pair: Pair::Ed25519(pair), der });
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &SystemRandom::new());
        Ok(Self { pair: Pair::P256(pair.map_err(|_| NotKey::Algorithm)?), der })
    }

    /// The key in PEM; whoever has it can sign.
    pub fn to_pem(&self) -> String {
        to_pem(PRIVATE, &self.der)
    }

    /// The other half, for those who check.
    pub fn public(&self) -> PublicKey {
        match &self.pair {
            Pair::Ed25519(pair) => PublicKey { kind: KeyKind::Ed25519, raw: pair.public_key().as_ref().to_vec() },
            Pair::P256(pair) => PublicKey { kind: KeyKind::P256, raw: pair.public_key().as_ref().to_vec() },
        }
    }

    /// Signs a message: 64 bytes of Ed25519, or ECDSA's two numbers in DER.
    ///
    /// # Errors
    /// If the system has no randomness, which ECDSA needs.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| NoRandomness)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    /// 32 bytes that only the owner of this key can derive, others for each `purpose`.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.der)
    }
}

/// The secret stays out of messages.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret key of {:?}", self.public())
    }
}

/// The system has no source of randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system has no randomness to make a key or a signature of")]
pub struct NoRandomness;

/// A name that nobody else has: 32 hexadecimal digits.
///
/// # Errors
/// If the system has no randomness.
pub fn random_name() -> Result<String, NoRandomness> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn to_pem(what: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

/// What stands in the first block of a PEM file (RFC 7468), which must be of this kind.
fn from_pem(text: &str, expected: &'static str) -> Result<Vec<u8>, NotKey> {
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(NotKey::NoPem { expected })?;
    let (found, rest) = rest.split_once("-----").ok_or(NotKey::NoPem { expected })?;
    if found != expected {
        return Err(other(found, expected));
    }
    let (body, _) = rest.split_once(&format!("-----END {expected}-----")).ok_or(NotKey::Algorithm)?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_| NotKey::Algorithm)
}

fn other(found: &str, expected: &'static str) -> NotKey {
    let hint = match (found, expected) {
        ("ENCRYPTED PRIVATE KEY", PRIVATE) => "; `openssl pkey -in FILE` takes the password off",
        ("EC PRIVATE KEY", PRIVATE) => "; `openssl pkcs8 -topk8 -nocrypt -in FILE` converts it",
        (_, PUBLIC) if found.ends_with("PRIVATE KEY") => "; secret keys stay out of the project",
        (_, PRIVATE) if found.ends_with("PUBLIC KEY") => "; whoever signs needs the other half of it",
        _ => "",
    };
    // It may be anything, and becomes part of a message.
    let found = found.chars().take(40).collect();
    NotKey::Other { found, expected, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_both_kinds_sign_and_read_back() {
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            let secret = SecretKey::generate(kind).unwrap();
            let public = secret.public();
            let signature = secret.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"messagf", &signature));
            for at in 0..signature.len() {
                let mut other = signature.clone();
                other[at] ^= 1;
                assert!(!public.verifies(b"message", &other), "byte {at}");
            }
            assert_eq!(PublicKey::from_pem(&public.to_pem()).unwrap(), public);
            let again = SecretKey::from_pem(&secret.to_pem()).unwrap();
            assert_eq!((again.public(), again.derive("x")), (public.clone(), secret.derive("x")));
            assert_ne!(secret.derive("x"), secret.derive("y"));
            let stranger = SecretKey::generate(kind).unwrap();
            assert!(!stranger.public().verifies(b"message", &signature));
            assert!(!format!("{secret:?}").contains(secret.to_pem().lines().nth(1).unwrap()));
        }
    }

    /// RFC 8032, 7.1, the second test; the PEM is that of RFC 8410, 10.3, in form.
    #[test]
    fn ed25519_is_that_of_the_standard() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let secret = SecretKey::from_der([ED25519_PRIVATE, &seed].concat()).unwrap();
        assert_eq!(secret.public().raw, hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(secret.sign(&[0x72]).unwrap(), hex(signature));
    }

    #[test]
    fn what_is_no_key_says_so_and_is_not_quoted() {
        let secret = SecretKey::generate(KeyKind::P256).unwrap();
        let public = |text: &str| PublicKey::from_pem(text).unwrap_err().to_string();
        let private = |text: &str| SecretKey::from_pem(text).unwrap_err().to_string();
        assert!(
            public("hunter2").starts_with("is not a key in PEM; expected a file that begins with `-----BEGIN PUBLIC")
        );
        assert_eq!(
            public(&secret.to_pem()),
            "has a `PRIVATE KEY`; expected a `PUBLIC KEY`; secret keys stay out of the project"
        );
        assert!(private(&secret.public().to_pem()).ends_with("whoever signs needs the other half of it"));
        assert!(private("-----BEGIN ENCRYPTED PRIVATE KEY-----\n").contains("takes the password off"));
        let cut = secret.to_pem().replace("MIG", "MI");
        assert!(private(&cut).starts_with("is neither an Ed25519 nor a P-256 key"));
        let rsa = to_pem(PUBLIC, &[0x30, 0x82, 0x01, 0x22]);
        assert!(public(&rsa).starts_with("is neither"));
    }
}
