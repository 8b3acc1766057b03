//! The project that a file or a folder belongs to: the nearest folder above it that has manifests in `pipelines/`.

use std::path::{Path, PathBuf};

/// The folder of a project that its manifests are in.
pub const FOLDER: &str = "pipelines";

/// The project that an absolute path is in, if it is in one.
pub fn above(path: &Path) -> Option<&Path> {
    path.ancestors().find(|folder| has_manifests(&folder.join(FOLDER)))
}

/// The project of a manifest, by its real path. Where nothing says that it is of one, it is the current folder, if the manifest is
/// in it, and otherwise its own folder.
pub(super) fn of(manifest: &Path) -> PathBuf {
    let real = fs_err::canonicalize(manifest).unwrap_or_else(|_| manifest.to_owned());
    let folder = real.parent().unwrap_or(&real);
    let here = || std::env::current_dir().ok().filter(|here| real.starts_with(here));
    above(folder).map(Path::to_owned).or_else(here).unwrap_or_else(|| folder.to_owned())
}

fn has_manifests(folder: &Path) -> bool {
    let mut items = fs_err::read_dir(folder).into_iter().flatten().flatten();
    items.any(|item| Path::new(&item.file_name()).extension().is_some_and(|extension| extension == "yaml"))
}
