//! Names of files and what is in folders.

use super::digest::Digest;
use std::io;
use std::path::Path;

/// The names in a folder, sorted; none if there is no such folder.
///
/// # Errors
/// If there is one and it cannot be read.
pub(in crate::engine) fn list(folder: &Path) -> io::Result<Vec<String>> {
    let items = match fs_err::read_dir(folder) {
        Ok(items) => items,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for item in items {
        names.extend(item?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// A removal or move of something that may be gone already.
///
/// # Errors
/// Those of `done`, but for what was gone.
pub(super) fn remove(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        other => other,
    }
}

/// Removes a file, or a folder with all that is in it, which may be gone already.
///
/// # Errors
/// If it is there and cannot be removed.
pub(in crate::engine) fn remove_all(path: &Path) -> io::Result<()> {
    let is_folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    remove(if is_folder { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) })
}

/// Whether something stands here that is no folder and leads to none. Nothing at all is not in the way.
pub(super) fn is_no_folder(path: &Path) -> bool {
    // Asked in this order: a folder that somebody makes between the two questions is none that is in the way.
    path.symlink_metadata().is_ok_and(|meta| !meta.is_dir() && !path.is_dir())
}

/// A name as one component of a path; two names never become one. [`readable`] undoes it.
pub(in crate::engine) fn file_name(name: &str) -> String {
    let mut safe = String::new();
    for (i, c) in name.chars().enumerate() {
        if matches!(c, '/' | '\\' | '%') || c.is_control() || (i == 0 && c == '.') {
            safe += &format!("%{:02X}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    if safe.len() <= 200 {
        return safe;
    }
    let end = (0..=150).rev().find(|&i| safe.is_char_boundary(i)).unwrap_or(0);
    format!("{}~{}", &safe[..end], Digest::of(name.as_bytes()).short())
}

/// What [`file_name`] was made from, long names excepted.
pub(super) fn readable(file_name: &str) -> String {
    let mut name = String::new();
    let mut rest = file_name;
    while let Some((before, after)) = rest.split_once('%') {
        name.push_str(before);
        let code = after.get(..2).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        match code {
            Some(c) => {
                name.push(c);
                rest = &after[2..];
            }
            None => {
                name.push('%');
                rest = after;
            }
        }
    }
    name + rest
}

/// Names in the two-digit folders of a folder: folder and file.
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn two_levels(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut names = Vec::new();
    for folder in list(root)? {
        for name in list(&root.join(&folder))? {
            names.push((folder.clone(), name));
        }
    }
    Ok(names)
}
