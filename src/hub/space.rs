//! Whether the disk has room for what is to come.

use super::Error;
use super::repo::size;
use std::path::Path;

/// Checks that a folder's disk has room for this many bytes.
///
/// # Errors
/// If it does not.
pub(super) fn check(folder: &Path, needed: u64) -> Result<(), Error> {
    let disk = rustix::fs::statvfs(folder).map_err(std::io::Error::from)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let (needed, free, folder) = (size(needed), size(free), folder.display());
    Err(Error::Unavailable(format!(
        "{needed} are to be downloaded and the disk of `{folder}` has {free} free; make room, or set HF_HUB_CACHE to a folder on another"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), 1).unwrap();
        let error = check(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("HF_HUB_CACHE") && error.contains("free"), "{error}");
    }
}
