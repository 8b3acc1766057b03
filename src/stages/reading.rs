//! Artifacts read as what they are, with errors that name them.

use crate::engine::context::{Artifact, Cx};
use anyhow::Context;

/// An artifact as what `of` makes of its bytes; an error names the role and where the artifact is from.
///
/// # Errors
/// If it is damaged, and what `of` returns.
pub(super) fn read<T, E>(role: &str, artifact: &Artifact, of: impl Fn(&[u8]) -> Result<T, E>) -> anyhow::Result<T>
where
    Result<T, E>: Context<T, E>,
{
    let named = || format!("`{role}`: `{}`", artifact.origin());
    of(&artifact.bytes().with_context(named)?).with_context(named)
}

/// All artifacts of a role.
///
/// # Errors
/// As [`read`], for the first of them.
pub(super) fn read_all<T, E>(cx: &Cx<'_>, role: &str, of: impl Fn(&[u8]) -> Result<T, E>) -> anyhow::Result<Vec<T>>
where
    Result<T, E>: Context<T, E>,
{
    cx.many(role).into_iter().map(|artifact| read(role, artifact, &of)).collect()
}
