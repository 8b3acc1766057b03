//! Envelopes: DSSE 1.0 (<https://github.com/secure-systems-lab/dsse>), a payload with signatures of what it is and says.

use super::key::{NoRandomness, PublicKey, SecretKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The type of payloads that are in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A payload and its signatures, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// In base64.
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

/// A signature in an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Of the key.
    keyid: String,
    /// In base64.
    sig: String,
}

impl Envelope {
    /// Signs an in-toto statement.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn sign(statement: &[u8], key: &SecretKey) -> Result<Self, NoRandomness> {
        let sig = STANDARD.encode(key.sign(&encoded(IN_TOTO, statement))?);
        let signatures = vec![Signature { keyid: key.public().id(), sig }];
        Ok(Self { payload: STANDARD.encode(statement), payload_type: IN_TOTO.to_owned(), signatures })
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("is not a DSSE envelope: {error}"))
    }

    /// The envelope in one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an envelope has only texts")
    }

    /// The statement, if this key signed it.
    pub fn statement_by(&self, key: &PublicKey) -> Option<Vec<u8>> {
        let payload = STANDARD.decode(&self.payload).ok().filter(|_| self.payload_type == IN_TOTO)?;
        let message = encoded(&self.payload_type, &payload);
        let id = key.id();
        let signed = |signature: &Signature| {
            signature.keyid == id && STANDARD.decode(&signature.sig).is_ok_and(|bytes| key.verifies(&message, &bytes))
        };
        self.signatures.iter().any(signed).then_some(payload)
    }
}

/// What is signed: DSSE's pre-authentication encoding.
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::KeyKind;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(encoded("http://example.com/HelloWorld", b"hello world"), expected);
    }

    #[test]
    fn an_envelope_is_that_of_its_signer_and_of_nobody_else() {
        let (ana, eve) = (SecretKey::generate(KeyKind::Ed25519).unwrap(), SecretKey::generate(KeyKind::P256).unwrap());
        let envelope = Envelope::sign(b"{}", &ana).unwrap();
        let read = Envelope::from_json(envelope.to_json().as_bytes()).unwrap();
        assert_eq!(read.statement_by(&ana.public()).unwrap(), b"{}");
        assert_eq!(read.statement_by(&eve.public()), None);
        let changes: [fn(&mut Envelope); 4] = [
            |envelope| envelope.payload = STANDARD.encode(b"[]"),
            |envelope| envelope.payload_type = "text/plain".to_owned(),
            |envelope| envelope.signatures.clear(),
            |envelope| envelope.signatures[0].sig = "====".to_owned(),
        ];
        for change in changes {
            let mut forged = envelope.clone();
            change(&mut forged);
            assert_eq!(forged.statement_by(&ana.public()), None);
        }
        let mut renamed = envelope.clone();
        renamed.signatures[0].keyid = eve.public().id();
        assert!(renamed.statement_by(&ana.public()).is_none() && renamed.statement_by(&eve.public()).is_none());
    }
}
