//! Where a command writes its result: standard output, or a file that is never half written.

use super::project;
use crate::error::Usage;
use crate::replace::replace;
use crate::ui;
use clap::Args;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The place of a result.
#[derive(Args)]
pub(super) struct Output {
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE", value_parser = project::path())]
    output: Option<PathBuf>,
}

impl Output {
    /// Writes a text for people, or a page.
    ///
    /// # Errors
    /// If the file or standard output cannot be written.
    pub(super) fn text(&self, text: &str) -> anyhow::Result<()> {
        match &self.output {
            Some(path) => Ok(write(path, text.as_bytes())?),
            None => Ok(ui::print(text)?),
        }
    }

    /// Writes a value in JSON.
    ///
    /// # Errors
    /// If the file or standard output cannot be written.
    pub(super) fn json(&self, json: &str) -> anyhow::Result<()> {
        match &self.output {
            Some(path) => Ok(write(path, json.as_bytes())?),
            None => Ok(ui::print_json_text(json)?),
        }
    }

    /// Writes data in text, as it is.
    ///
    /// # Errors
    /// If the file or standard output cannot be written.
    pub(super) fn data(&self, data: &str) -> anyhow::Result<()> {
        match &self.output {
            Some(path) => Ok(write(path, data.as_bytes())?),
            None => Ok(ui::print_data(data)?),
        }
    }

    /// Writes bytes that no terminal should get.
    ///
    /// # Errors
    /// If no file is named, or it cannot be written.
    pub(super) fn bytes(&self, bytes: &[u8], what: &str) -> anyhow::Result<()> {
        match &self.output {
            Some(path) => Ok(write(path, bytes)?),
            None => Err(Usage(format!("{what} goes to a file; say which with `--output FILE`")).into()),
        }
    }
}

/// Replaces the file as a whole; see [`replace`]. What is not a file, such as `/dev/stdout`, is
/// written as it is, since it must not be replaced.
///
/// # Errors
/// If the file or its folder cannot be written.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.exists() && !path.is_file() {
        return fs_err::OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    // The file behind a link is replaced, not the link.
    let path = if path.is_file() { fs_err::canonicalize(path)? } else { path.to_owned() };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = path.with_file_name(format!(".{name}.{}", std::process::id()));
    replace(&path, &temp, |file| file.write_all(bytes))
}

/// As [`write`], for files of which none is there already, unless it is to be `overwritten`, or has these bytes anyway. Whether
/// anything was written.
///
/// # Errors
/// If one of them is there with other content; then none is written.
pub(super) fn write_new(files: &[(&Path, &[u8])], overwrite: bool) -> anyhow::Result<bool> {
    let has = |path: &Path, bytes: &[u8]| path.is_file() && fs_err::read(path).is_ok_and(|own| own == bytes);
    let new: Vec<_> = files.iter().filter(|(path, bytes)| overwrite || !has(path, bytes)).collect();
    let taken = |path: &Path| path.is_file() || path.is_symlink();
    if let Some((path, _)) = new.iter().find(|(path, _)| !overwrite && taken(path)) {
        let message = format!("`{}` is there already, with other content; `--overwrite` replaces it", path.display());
        return Err(Usage(message).into());
    }
    for (path, bytes) in &new {
        write(path, bytes)?;
    }
    Ok(!new.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_else_is_left() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("x.html");
        write(&path, b"a long first text").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"second");
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("none/x.html"), b"").is_err());
        assert!(write(folder.path(), b"").is_err(), "a folder is not a file");
    }

    #[test]
    fn new_files_take_no_other_s_place() {
        let folder = tempfile::TempDir::new().unwrap();
        let [path, other, link] = ["x.npy", "y.npy", "link"].map(|name| folder.path().join(name));
        assert!(write_new(&[(&path, b"first")], false).unwrap());
        assert!(!write_new(&[(&path, b"first")], false).unwrap(), "it has these bytes");
        let error = write_new(&[(&other, b"new"), (&path, b"second")], false).unwrap_err().to_string();
        assert!(error.contains("x.npy` is there already") && error.contains("--overwrite"), "{error}");
        assert!(fs_err::read(&path).unwrap() == b"first" && !other.exists(), "all or none");
        assert!(write_new(&[(&other, b"new"), (&path, b"second")], true).unwrap());
        assert_eq!(fs_err::read(&path).unwrap(), b"second");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert!(write_new(&[(&link, b"x")], false).is_err(), "a link that leads nowhere is something");
        assert!(write_new(&[(Path::new("/dev/null"), b"x")], false).unwrap());
    }

    #[test]
    fn a_link_stays_and_what_is_no_file_is_not_replaced() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, link) = (folder.path().join("x"), folder.path().join("link"));
        write(&path, b"1").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, b"2").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs_err::read(&path).unwrap(), b"2");
        write(Path::new("/dev/null"), b"3").unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }
}
