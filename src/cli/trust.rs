//! What a project requires of results before it believes them: `trust.yaml`, and `spot audit --require`.

use super::keys;
use crate::engine::check::require::{Requirements, Version};
use crate::engine::manifest::problem::Problem;
use crate::engine::manifest::{node, read_value};
use crate::engine::signing::Named;
use crate::error::Usage;
use serde::Deserialize;
use std::io;

/// The policy of a project.
pub(super) const POLICY: &str = "trust.yaml";
/// The version of its form.
const VERSION: u32 = 1;
/// The type of the artifacts that `backbone:` is about.
const BACKBONE: &str = "backbone";
/// Fewest digits of a digest in a policy, as many as are shown elsewhere.
const SHORTEST: usize = 12;

/// What `trust.yaml` says.
///
/// ```yaml
/// version: 1
/// made_by: [ana, ci]         # one of these keys made every result: keys/ana.pub, keys/ci.pub
/// program: 0.1.0             # by this version or a newer one
/// backbone: 3f2a91c07d55     # on this backbone: the first digits of its digest
/// rerun_by: [ci]             # and one of these, not its maker, executed a job of each kind again
/// ```
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    version: u32,
    #[serde(default)]
    made_by: Vec<String>,
    #[serde(default)]
    program: Option<String>,
    #[serde(default)]
    backbone: Option<String>,
    #[serde(default)]
    rerun_by: Vec<String>,
}

/// What is required: by the policy of the project, if it has one, and by keys that are named. `None` if nothing is.
///
/// # Errors
/// If the policy is wrong, or a key is not there.
pub(super) fn requirements(keys: &[String]) -> anyhow::Result<Option<Requirements>> {
    let text = match fs_err::read_to_string(POLICY) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if text.is_none() && keys.is_empty() {
        return Ok(None);
    }
    let mut required = text.map(|text| of_policy(&text)).transpose()?.unwrap_or_default();
    if !keys.is_empty() {
        required.made_by = named(keys)?;
    }
    required.ends = keys::ends();
    Ok(Some(required))
}

fn named(keys: &[String]) -> anyhow::Result<Vec<Named>> {
    keys.iter().map(|key| keys::public(key)).collect()
}

fn of_policy(text: &str) -> anyhow::Result<Requirements> {
    let wrong = |what: String| Usage(format!("`{POLICY}`: {what}"));
    let told = |Problem { place, message, .. }: &Problem| {
        Usage(format!("{POLICY}:{}:{}: {message}", place.line, place.column))
    };
    let node = node::parse(text).map_err(|problems| told(&problems[0]))?;
    let Policy { version, made_by, program, backbone, rerun_by } =
        read_value(&node).map_err(|problem| told(&problem))?;
    let is_empty = |field: &str| match field {
        "made_by" => made_by.is_empty(),
        "rerun_by" => rerun_by.is_empty(),
        "program" => program.is_none(),
        "backbone" => backbone.is_none(),
        _ => false,
    };
    // Nobody, or anybody?
    if let Some((key, _)) = node.entries().iter().find(|(key, _)| is_empty(&key.text)) {
        let message = format!(
            "`{}` is empty, which may mean nobody or anybody; say what is required, or take the line out",
            key.text
        );
        return Err(told(&Problem::new(key.place, message)).into());
    }
    if version != VERSION {
        return Err(wrong(format!("has `version: {version}`, and this program reads {VERSION}")).into());
    }
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let is_digest = |text: &&String| text.len() >= SHORTEST && text.bytes().all(is_digit);
    if let Some(other) = backbone.as_ref().filter(|text| !is_digest(text)) {
        let expected = format!("{SHORTEST} or more hexadecimal digits of its digest, as `spot show` prints it");
        return Err(wrong(format!("`backbone: {other}` is not {expected}")).into());
    }
    if made_by.is_empty() && program.is_none() && backbone.is_none() && rerun_by.is_empty() {
        return Err(
            wrong("requires nothing; expected `made_by`, `program`, `backbone` or `rerun_by`".to_owned()).into()
        );
    }
    let version = |text: String| {
        Version::parse(&text).ok_or_else(|| wrong(format!("`program: {text}` is not a version, such as `0.1.0`")))
    };
    Ok(Requirements {
        made_by: named(&made_by)?,
        program: program.map(version).transpose()?,
        artifacts: backbone.map(|digest| (BACKBONE.to_owned(), vec![digest])),
        rerun_by: named(&rerun_by)?,
        ends: keys::ends(),
    })
}
