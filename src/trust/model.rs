//! Signatures of folders of files as OpenSSF Model Signing 1.0 makes and verifies them
//! (<https://github.com/sigstore/model-transparency>): a Sigstore bundle around a DSSE envelope around an in-toto statement.

use super::Envelope;
use super::key::{KeyKind, NoRandomness, SecretKey};
use super::statement::{Sha256, Sha256Hasher, Statement, Subject};
use serde_json::json;

/// The file beside those that it signs.
pub const NAME: &str = "model.sig";

const PREDICATE: &str = "https://model_signing/signature/v1.0";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Why a folder cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum Unsigned {
    /// Model Signing knows no such keys.
    #[error("the key is {}, and OpenSSF Model Signing verifies P-256 only; `spot keygen NAME` makes such a key", .0.name())]
    Kind(KeyKind),
    /// The system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The signature of files in a folder: its content for [`NAME`]. `files` are names and bytes of all files but the signature.
///
/// # Errors
/// If the key is not of the one kind that is verified, or there is no randomness.
pub fn sign(folder: &str, files: &[(&str, &[u8])], key: &SecretKey) -> Result<String, Unsigned> {
    let public = key.public();
    if public.kind() != KeyKind::P256 {
        return Err(Unsigned::Kind(public.kind()));
    }
    let mut files: Vec<(&str, Sha256)> = files.iter().map(|(name, bytes)| (*name, Sha256::of(bytes))).collect();
    files.sort_unstable();
    let mut root = Sha256Hasher::default();
    files.iter().for_each(|(_, digest)| root.update(digest.as_bytes()));
    let resource = |(name, digest): &(&str, Sha256)| json!({"name": name, "algorithm": "sha256", "digest": digest});
    let predicate = json!({
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": false,
            "ignore_paths": [NAME, ".git", ".gitattributes", ".github", ".gitignore"],
        },
        "resources": files.iter().map(resource).collect::<Vec<_>>(),
    });
    let subject = Subject::new(folder, [("sha256", root.finish().to_string())]);
    let statement = Statement::new(vec![subject], PREDICATE, predicate);
    let envelope = Envelope::sign(statement.to_json().as_bytes(), key)?;
    let hint = Sha256::of(public.to_pem().as_bytes());
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    });
    Ok(bundle.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_are_verified_sign() {
        let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
        let error = sign("prompt", &[("a", b"a")], &key).unwrap_err().to_string();
        assert!(error.starts_with("the key is Ed25519, and OpenSSF Model Signing verifies P-256 only"), "{error}");
        let key = SecretKey::generate(KeyKind::P256).unwrap();
        assert!(sign("prompt", &[("b", b"b"), ("a", b"a")], &key).unwrap().contains(BUNDLE));
    }
}
