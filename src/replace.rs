//! Files that are there whole or not at all, whatever ends the program while they are written.

use std::io;
use std::path::Path;

/// Gives a path new content: at every instant it has either all of it or what it had before, even if the power fails. The
/// content is written to `temp`, on the same file system, which nobody else may use, and synced before it takes the place.
///
/// That it is the new content after a power failure is certain once the folder is synced too ([`sync_folder`]).
///
/// # Errors
/// If it cannot be written; then `temp` is gone.
pub(crate) fn replace(
    path: &Path,
    temp: &Path,
    write: impl FnOnce(&mut fs_err::File) -> io::Result<()>,
) -> io::Result<()> {
    replace_unsynced(path, temp, |file| {
        write(file)?;
        file.sync_all()
    })
}

/// As [`replace`], but a power failure may leave anything: for what is checked when it is read, and of which a loss costs
/// less than the waiting for the disk.
///
/// # Errors
/// As [`replace`].
pub(crate) fn replace_unsynced(
    path: &Path,
    temp: &Path,
    write: impl FnOnce(&mut fs_err::File) -> io::Result<()>,
) -> io::Result<()> {
    // A process that was killed may have left it. It is not opened as it is, since a link would be followed.
    match fs_err::remove_file(temp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let replaced = (|| {
        write(&mut fs_err::OpenOptions::new().write(true).create_new(true).open(temp)?)?;
        fs_err::rename(temp, path)
    })();
    if replaced.is_err() {
        let _ = fs_err::remove_file(temp);
    }
    replaced
}

/// Makes sure that the content of a file is on disk.
///
/// # Errors
/// If it cannot be opened or synced.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    fs_err::File::open(path)?.sync_all()
}

/// Makes sure that whatever was written to the file system of a folder is on disk; `false` where a system has no way to ask.
///
/// # Errors
/// If it cannot be opened or synced.
pub(crate) fn sync_file_system(folder: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(fs_err::File::open(folder)?)?;
        Ok(true)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        Ok(false)
    }
}

/// Makes sure that what was renamed in a folder, or removed from it, stays so even if the power fails.
///
/// # Errors
/// If it cannot be opened or synced.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs_err::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_has_its_old_content_until_all_of_the_new_is_there() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, temp) = (folder.path().join("file"), folder.path().join("temp"));
        type Content = fn(&mut fs_err::File) -> io::Result<()>;
        type Way = fn(&Path, &Path, Content) -> io::Result<()>;
        let ways: [Way; 2] = [replace, replace_unsynced];
        for replace in ways {
            fs_err::write(&path, "old").unwrap();
            let failed = replace(&path, &temp, |file| {
                file.write_all(b"ne")?;
                Err(io::Error::other("the disk is full"))
            });
            assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
            assert_eq!(fs_err::read(&path).unwrap(), b"old");
            assert!(!temp.exists());
            replace(&path, &temp, |file| file.write_all(b"new")).unwrap();
            assert_eq!(fs_err::read(&path).unwrap(), b"new");
            assert!(!temp.exists());
        }
        sync_folder(folder.path()).unwrap();
        assert!(sync_folder(&path.join("none")).is_err());
    }

    #[test]
    fn what_stands_in_the_way_is_replaced_and_a_link_is_not_followed() {
        let folder = tempfile::TempDir::new().unwrap();
        let [path, temp, other] = ["file", "temp", "other"].map(|name| folder.path().join(name));
        fs_err::write(&other, "of somebody else").unwrap();
        std::os::unix::fs::symlink(&other, &temp).unwrap();
        replace(&path, &temp, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"new");
        assert_eq!(fs_err::read(&other).unwrap(), b"of somebody else");
        fs_err::write(&temp, "half of what a killed proc").unwrap();
        replace(&path, &temp, |file| file.write_all(b"newer")).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"newer");
    }
}
