//! `spot keygen`: a key to sign with, and its public half for the ring of the project.

use super::{keys, project};
use crate::error::{Exit, Usage};
use crate::trust::{KeyKind, SecretKey};
use crate::ui;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Arguments of `spot keygen`.
#[derive(Args)]
pub(super) struct Keygen {
    /// What the key is called, usually whoever has it
    #[arg(value_name = "NAME", value_parser = keys::name)]
    name: String,
    /// Which kind; OpenSSF Model Signing verifies P-256 only
    #[arg(long, value_enum, default_value = "p256")]
    r#type: Type,
    /// Where the secret half goes [default: `spot/NAME.pem` in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE", value_parser = project::path())]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    P256,
    Ed25519,
}

impl Keygen {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is a key of this name, or a file cannot be written.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let public = keys::public_path(&self.name);
        let secret = self.output.clone().map_or_else(|| keys::secret_path(&self.name), Ok)?;
        for path in [&public, &secret] {
            if path.symlink_metadata().is_ok() {
                let message =
                    format!("`{}` is there already; a key is never replaced, take another name", path.display());
                return Err(Usage(message).into());
            }
        }
        let kind = match self.r#type {
            Type::P256 => KeyKind::P256,
            Type::Ed25519 => KeyKind::Ed25519,
        };
        let key = SecretKey::generate(kind)?;
        write(&secret, 0o600, &key.to_pem())?;
        write(&public, 0o644, &key.public().to_pem())?;
        ui::print(&format!(
            "secret key: `{}`; whoever has it signs in your name\npublic key: `{}`, {} {}; commit it\n",
            secret.display(),
            public.display(),
            kind.name(),
            key.public().id(),
        ))?;
        Ok(Exit::Ok)
    }
}

/// Writes a file that is not there yet, which nobody may read meanwhile who may not read it then.
fn write(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true).options_mut().mode(mode);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
