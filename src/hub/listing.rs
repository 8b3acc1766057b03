//! What a hub says of a repository at a commit: its files, their sizes and checksums.

use super::checksum::Checksum;
use super::repo::{is_commit, is_file_name};
use serde::{Deserialize, Serialize};

/// The files of a repository at a commit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listing {
    /// The commit.
    pub(super) sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    /// git's hash of a file that git has itself.
    #[serde(default, rename = "blobId")]
    blob: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

/// A file that stands beside the repository.
#[derive(Debug, Serialize, Deserialize)]
struct Lfs {
    sha256: String,
}

impl Listing {
    /// Reads what a hub says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(json: &[u8]) -> Result<Self, String> {
        let listing: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if !is_commit(&listing.sha) {
            return Err(format!("`{}` is not a commit", listing.sha.escape_debug()));
        }
        match listing.siblings.iter().find(|file| !is_file_name(&file.rfilename)) {
            Some(file) => {
                Err(format!("`{}` is not the name of a file within the repository", file.rfilename.escape_debug()))
            }
            None => Ok(listing),
        }
    }

    /// The names of the files, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.siblings.iter().map(|file| file.rfilename.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn file(&self, name: &str) -> Option<&Sibling> {
        self.siblings.iter().find(|file| file.rfilename == name)
    }

    /// The size of a file, if the hub says it.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.file(name)?.size
    }

    /// The checksum of a file, if the hub says it.
    pub(super) fn checksum(&self, name: &str) -> Option<Checksum> {
        let file = self.file(name)?;
        Checksum::of_etag(file.lfs.as_ref().map(|lfs| &lfs.sha256).or(file.blob.as_ref())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_files_elsewhere_is_refused() {
        let listing = |sha: &str, name: &str| {
            let json = serde_json::json!({"sha": sha, "siblings": [{"rfilename": name}], "private": false});
            Listing::of(json.to_string().as_bytes())
        };
        let commit = "a".repeat(40);
        listing(&commit, "config.json").unwrap();
        assert!(listing(&commit, "../config.json").unwrap_err().contains("`../config.json`"));
        assert!(listing(&commit, "/etc/passwd").is_err());
        assert!(listing("../..", "config.json").unwrap_err().contains("not a commit"));
        assert!(Listing::of(b"<html>").is_err());
    }
}
