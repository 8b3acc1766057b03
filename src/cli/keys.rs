//! Keys by name: public ones are the ring of the project, `keys/NAME.pub`; secret ones stay out of it.

use super::project;
use crate::engine::signing::{Named, Signer};
use crate::error::Usage;
use crate::trust::key::LONGEST;
use crate::trust::{PublicKey, SecretKey};
use crate::ui::{self, Colour};
use clap::Args;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of a project that has its public keys.
const RING: &str = "keys";
/// Where the project notes the last signed run of each pipeline, a file for each store.
const ENDS: &str = "keys/runs";

/// Who signs.
#[derive(Args)]
pub(super) struct Sign {
    /// Sign with this secret key: the path of a PEM file, or a name that `spot keygen` made
    #[arg(long, value_name = "KEY", value_parser = project::name())]
    sign: Option<String>,
}

impl Sign {
    /// The secret key, if one is named.
    ///
    /// # Errors
    /// If there is no such key, or it is something else.
    pub(super) fn key(&self) -> anyhow::Result<Option<SecretKey>> {
        self.sign.as_deref().map(secret).transpose()
    }

    /// The key as it was named.
    pub(super) fn named(&self) -> Option<&str> {
        self.sign.as_deref()
    }

    /// Who signs, if a key is named.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub(super) fn signer(&self) -> anyhow::Result<Option<Arc<Signer>>> {
        Ok(self.key()?.map(|key| Arc::new(Signer::new(key, ends()))))
    }
}

/// Where the project notes the last signed run of each pipeline.
pub(super) fn ends() -> PathBuf {
    ENDS.into()
}

/// Where the public key of this name belongs.
pub(super) fn public_path(name: &str) -> PathBuf {
    Path::new(RING).join(format!("{name}.pub"))
}

/// Where the secret key of this name belongs: in the user's own settings.
///
/// # Errors
/// If the user has no folder.
pub(super) fn secret_path(name: &str) -> Result<PathBuf, Usage> {
    let folder = |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let settings = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    let nowhere =
        || Usage("neither XDG_CONFIG_HOME nor HOME says where secret keys are; give the path of a file".to_owned());
    Ok(settings.ok_or_else(nowhere)?.join("spot").join(format!("{name}.pem")))
}

/// Whether a name can be that of a key.
///
/// # Errors
/// What is wrong with it.
pub(super) fn name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    match name {
        _ if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_plain) => {
            Err("expected letters, digits, `-`, `_`, `.` and `@`, such as `ana`".to_owned())
        }
        _ => Ok(name.to_owned()),
    }
}

fn secret(which: &str) -> anyhow::Result<SecretKey> {
    let path = match by_name(which)? {
        None => PathBuf::from(which),
        Some(path) => path,
    };
    let key = SecretKey::from_pem(&text(&path)?).map_err(|error| Usage(format!("`{}` {error}", path.display())))?;
    let mode = fs_err::metadata(&path)?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        ui::tell(
            "warning:",
            Colour::Yellow,
            &format!("`{path}` can be read by others of this machine (mode {:03o}); `chmod 600 {path}`", mode & 0o777),
        );
    }
    Ok(key)
}

/// The secret key of this name; `None` if it is that of a file.
fn by_name(which: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = name(which).ok().map(|name| secret_path(&name)).transpose();
    match (Path::new(which).is_file(), path) {
        (true, Ok(Some(path))) if path.is_file() => Err(two_keys(which, &path).into()),
        (true, _) => Ok(None),
        (false, path) => {
            let path = path?;
            let there = path.as_ref().map_or_else(String::new, |path| format!(" and no `{}`", path.display()));
            let missing = || Usage(format!("there is no file `{which}`{there}; `spot keygen {which}` makes a key"));
            Ok(Some(path.filter(|path| path.is_file()).ok_or_else(missing)?))
        }
    }
}

/// A name that is that of a file too.
fn two_keys(which: &str, by_name: &Path) -> Usage {
    let by_name = by_name.display();
    Usage(format!(
        "`{which}` may be the file `./{which}` or the key `{by_name}`; write the path of the one that is meant"
    ))
}

/// The public key that is meant: the path of a PEM file, or a name of the project's ring.
///
/// # Errors
/// If there is none, or it is something else.
pub(super) fn public(which: &str) -> anyhow::Result<Named> {
    let (file, in_ring) = (PathBuf::from(which), public_path(which));
    if file.is_file() && in_ring.is_file() {
        return Err(two_keys(which, &in_ring).into());
    }
    let path = if file.is_file() { file } else { in_ring };
    if !path.is_file() {
        let ring = ring();
        let known = if ring.is_empty() { "it is empty".to_owned() } else { format!("it has `{}`", ring.join("`, `")) };
        let message =
            format!("there is no key `{which}` in the project's ring, `{RING}/`: {known}; nor a file of that name");
        return Err(Usage(message).into());
    }
    let key = PublicKey::from_pem(&text(&path)?).map_err(|error| Usage(format!("`{}` {error}", path.display())))?;
    let name = path.file_stem().map_or_else(|| which.to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok(Named { name, key })
}

/// The names of the keys in the ring, sorted.
fn ring() -> Vec<String> {
    let items = fs_err::read_dir(RING).into_iter().flatten().flatten();
    let name = |path: PathBuf| Some(path.to_str()?.strip_suffix(".pub")?.rsplit('/').next()?.to_owned());
    let mut names: Vec<String> = items.filter_map(|item| name(item.path())).collect();
    names.sort();
    names
}

fn text(path: &Path) -> anyhow::Result<String> {
    let size = fs_err::metadata(path)?.len();
    if size > LONGEST {
        return Err(Usage(format!("`{}` has {size} bytes, so it is no key", path.display())).into());
    }
    let not_text = |_| Usage(format!("`{}` is not text, so it is no key in PEM", path.display()));
    Ok(String::from_utf8(fs_err::read(path)?).map_err(not_text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_no_paths() {
        assert!(["ana", "ci-2026", "ana@lab.org"].iter().all(|good| name(good).is_ok()));
        assert!(["", "a/b", "../x", ".hidden", "-x", "a b", "ü"].iter().all(|bad| name(bad).is_err()));
    }
}
