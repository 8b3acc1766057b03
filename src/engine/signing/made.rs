//! The provenance of an entry as SLSA Provenance v1 (<https://slsa.dev/spec/v1.0/provenance>): what was built by which recipe from
//! what, by whom and when.
//!
//! | SLSA | here |
//! | --- | --- |
//! | `subject` | the outputs: `source[mnli,0].prompt`, by SHA-256 and BLAKE3 |
//! | `buildDefinition.externalParameters` | the recipe but for its inputs: kind, version, parameters |
//! | `buildDefinition.resolvedDependencies` | the inputs by role, with the job or file that they came from |
//! | `runDetails.builder` | the program and its version |
//! | `runDetails.byproducts` | the entry itself, so that a signature of the statement covers every byte of it |

use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::trust::statement::Subject;
use crate::trust::{Sha256, Statement};
use serde_json::{Map, Value, json};

/// What kind of statement it is.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What SLSA calls a way to build: docs/trust.md says what its parameters are.
const BUILD: &str = "urn:spot:job:v1";
/// Who builds.
const BUILDER: &str = "urn:spot:program";
/// The name of the entry among what a build leaves.
const ENTRY: &str = "entry";

/// The statement about an entry, `digest` being of its text.
pub fn statement(entry: &Entry, digest: &Digest) -> Statement {
    let made = &entry.provenance;
    let recipe = &entry.recipe;
    let mut version = json!({"spot": made.program});
    if let Some(revision) = &made.revision {
        version["revision"] = json!(revision);
    }
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {
                "kind": recipe.kind, "version": recipe.version, "schema": recipe.schema, "params": recipe.params,
            },
            "internalParameters": {"device": made.device, "threads": made.threads, "host": made.host},
            "resolvedDependencies": recipe.inputs.iter().map(|(role, digest)| dependency(entry, role, digest)).collect::<Vec<_>>(),
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": version},
            "metadata": {
                "invocationId": format!("{}/{}", made.pipeline, made.job),
                "startedOn": made.start,
                "finishedOn": made.end,
            },
            "byproducts": [{"name": ENTRY, "digest": {"blake3": digest}, "annotations": {"key": entry.key}}],
        },
    });
    Statement::new(subjects(entry), PREDICATE, predicate)
}

/// The outputs of an entry and their parts, but for those that are files outside the store.
fn subjects(entry: &Entry) -> Vec<Subject> {
    let job = &entry.provenance.job;
    let mut subjects = Vec::new();
    for artifact in &entry.artifacts {
        subjects.push(subject(format!("{job}.{}", artifact.name), &artifact.digest, artifact.sha256));
        for part in artifact.parts.iter().filter(|part| part.external.is_none()) {
            subjects.push(subject(format!("{job}.{}/{}", artifact.name, part.name), &part.digest, part.sha256));
        }
    }
    subjects
}

fn subject(name: String, digest: &Digest, sha256: Option<Sha256>) -> Subject {
    let mut subject = Subject::new(name, [("blake3", digest.to_string())]);
    subject.digest.extend(sha256.map(|sha256| ("sha256".to_owned(), sha256.to_string())));
    subject
}

fn dependency(entry: &Entry, role: &str, digest: &Digest) -> Value {
    let origin = entry.provenance.inputs.iter().find(|origin| origin.role == *role && origin.digest == *digest);
    let mut from = Map::new();
    if let Some(artifact) = origin.and_then(|origin| origin.artifact.as_ref()) {
        from.insert("artifact".to_owned(), json!(artifact));
    }
    if let Some(file) = origin.and_then(|origin| origin.file.as_ref()) {
        from.insert("file".to_owned(), json!(file));
    }
    let mut dependency = json!({"name": role, "digest": {"blake3": digest}});
    if !from.is_empty() {
        dependency["annotations"] = Value::Object(from);
    }
    dependency
}

/// Which entry, by the digest of its text, and of which key a statement is about.
pub fn about(statement: &Statement) -> Option<(Key, Digest)> {
    let byproducts = statement.predicate["runDetails"]["byproducts"].as_array()?;
    let entry = byproducts.iter().find(|byproduct| byproduct["name"] == ENTRY)?;
    let key = entry["annotations"]["key"].as_str()?.parse().ok()?;
    Some((key, entry["digest"]["blake3"].as_str()?.parse().ok()?))
}

/// Whether a statement is about the entry with this key and text.
pub fn is_about(statement: &[u8], key: &Key, text: &[u8]) -> bool {
    let statement = Statement::from_json(statement, PREDICATE).ok();
    statement.and_then(|statement| about(&statement)) == Some((*key, Digest::of(text)))
}
