//! The folders of one execution of a program: fresh, and gone afterwards.

use crate::engine::context::{Artifact, Cx};
use anyhow::{Context, ensure};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How the names of these folders begin.
const PREFIX: &str = "program-";

/// The folders of one execution; dropping it removes them.
pub(super) struct Workplace {
    root: PathBuf,
}

impl Workplace {
    /// Fresh folders in a job's scratch folder. What a killed run left there goes; a program that outlived its run may still
    /// write into it, so the name is another one each time.
    ///
    /// # Errors
    /// If the scratch folder cannot be read or written.
    pub(super) fn new(cx: &Cx<'_>) -> anyhow::Result<Self> {
        let scratch = std::path::absolute(cx.scratch()?)?;
        let mut number = 0;
        for item in fs_err::read_dir(&scratch)? {
            let item = item?;
            if let Some(old) = item.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)) {
                number = number.max(old.parse::<u32>().unwrap_or(0));
                remove(&item.path());
            }
        }
        let root = scratch.join(format!("{PREFIX}{}", number.wrapping_add(1)));
        let workplace = Self { root };
        for folder in [workplace.inputs(), workplace.outputs(), workplace.current(), workplace.temporary()] {
            fs_err::create_dir_all(folder)?;
        }
        Ok(workplace)
    }

    /// Where inputs are.
    pub(super) fn inputs(&self) -> PathBuf {
        self.root.join("in")
    }

    /// Where the program puts its outputs.
    pub(super) fn outputs(&self) -> PathBuf {
        self.root.join("out")
    }

    /// The folder that the program starts in.
    pub(super) fn current(&self) -> PathBuf {
        self.root.join("work")
    }

    /// For what the program keeps for a while.
    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Copies an input to a path below [`inputs`](Self::inputs), and its parts into a folder beside it. A copy: whatever the
    /// program does to it, the store and the project stay as they are.
    ///
    /// # Errors
    /// If the input is damaged, has a part whose name is not a file name, or cannot be copied.
    pub(super) fn put(&self, path: &Path, artifact: &Artifact) -> anyhow::Result<PathBuf> {
        let path = self.inputs().join(path);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        copy(&artifact.map()?, &path)?;
        let mut folder = path.clone().into_os_string();
        folder.push(".parts");
        for (name, digest) in artifact.parts() {
            ensure!(is_plain(name), "`{}` has a part called `{name}`, which is not a file name", artifact.origin());
            fs_err::create_dir_all(&folder)?;
            copy(&artifact.part(&digest)?, &Path::new(&folder).join(name))?;
        }
        Ok(path)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        remove(&self.root);
    }
}

/// A file that can be read and executed, so that a script may be an input and the program.
fn copy(content: &[u8], path: &Path) -> anyhow::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true).options_mut().mode(0o555);
    let mut file = options.open(path).with_context(|| "failed to copy an input")?;
    Ok(file.write_all(content)?)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// Removes a folder, even if a program made its folders unwritable. What stays costs disk space and nothing else.
fn remove(folder: &Path) {
    if fs_err::remove_dir_all(folder).is_err() {
        open_up(folder);
        drop(fs_err::remove_dir_all(folder));
    }
}

fn open_up(folder: &Path) {
    drop(fs_err::set_permissions(folder, PermissionsExt::from_mode(0o700)));
    for item in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        // Not through links, which may lead anywhere.
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&item.path());
        }
    }
}
