//! The names of things on a hub, checked: they become addresses and paths.

use std::collections::BTreeSet;
use std::fmt;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// A repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    kind: Kind,
    id: String,
    revision: String,
}

impl Repo {
    /// The repository `id` at a branch, a tag, a full commit, or a reference such as `refs/pr/2`.
    ///
    /// # Errors
    /// As [`check_id`] and [`check_revision`].
    pub fn new(kind: Kind, id: &str, revision: &str) -> Result<Self, String> {
        check_id(id)?;
        check_revision(revision)?;
        Ok(Self { kind, id: id.to_owned(), revision: revision.to_owned() })
    }

    /// Its folder in the cache: `models--google--t5-base-lm-adapt`.
    pub(super) fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.id.replace('/', "--"))
    }

    /// The commit, if the revision is one.
    pub(super) fn pinned(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(&*self.revision)
    }

    pub(super) fn revision(&self) -> &str {
        &self.revision
    }

    /// The path of what the hub says of it.
    pub(super) fn listing_path(&self) -> String {
        let revision = self.revision.replace('/', "%2F");
        format!("/api/{}/{}/revision/{revision}?blobs=true", self.kind.plural(), self.id)
    }

    /// The path of a file of it at a commit.
    pub(super) fn file_path(&self, commit: &str, name: &str) -> String {
        let prefix = match self.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        format!("/{prefix}{}/resolve/{commit}/{}", self.id, escaped(name))
    }

    /// The path of its page.
    pub(super) fn page(&self) -> String {
        match self.kind {
            Kind::Model => format!("/{}", self.id),
            Kind::Dataset => format!("/datasets/{}", self.id),
        }
    }

    /// The command of the Python tools that brings these files of it, or all.
    pub(super) fn command(&self, names: &[String]) -> String {
        let kind = match self.kind {
            Kind::Model => "",
            Kind::Dataset => " --repo-type dataset",
        };
        let names: String = if names.len() > SHOWN {
            patterns(names).iter().map(|pattern| format!(" --include \"{pattern}\"")).collect()
        } else {
            names.iter().map(|name| format!(" {name}")).collect()
        };
        format!("hf download {}{names} --revision {}{kind}", self.id, self.revision)
    }
}

/// For messages: `` `google/t5-base-lm-adapt` at `main` ``.
impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at `{}`", self.id, self.revision)
    }
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// Names that a message shows.
const SHOWN: usize = 12;

/// Names for a message; of very many the first.
pub(super) fn shown(names: &[String]) -> String {
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

/// The names with `*` for numbers of four digits and more: shards are one pattern.
fn patterns(names: &[String]) -> BTreeSet<String> {
    let pattern = |name: &String| {
        let (mut pattern, mut digits) = (String::new(), String::new());
        for letter in name.chars().chain(['/']) {
            if letter.is_ascii_digit() {
                digits.push(letter);
                continue;
            }
            pattern += if digits.len() < 4 { digits.as_str() } else { "*" };
            digits.clear();
            pattern.push(letter);
        }
        pattern.pop();
        pattern
    };
    names.iter().map(pattern).collect()
}

/// Bytes of the longest name that a hub gives, of which folders are named.
const LONGEST_ID: usize = 96;
const LONGEST_REVISION: usize = 200;
const LONGEST_FILE: usize = 1000;

/// Checks the name of a repository: `google/t5-base-lm-adapt`, or `t5-base` of old.
///
/// # Errors
/// What is wrong with it.
pub fn check_id(id: &str) -> Result<(), String> {
    let part = |part: &str| {
        let edge = |c: char| matches!(c, '-' | '.');
        !part.is_empty() && part.chars().all(is_plain) && !part.starts_with(edge) && !part.ends_with(edge)
    };
    let parts = id.split('/').count();
    if parts <= 2 && id.split('/').all(part) && !id.contains("--") && !id.contains("..") && id.len() <= LONGEST_ID {
        return Ok(());
    }
    Err(format!(
        "`{}` is not the name of a repository, expected one such as `google/t5-base-lm-adapt`",
        id.escape_debug()
    ))
}

/// Checks a revision.
///
/// # Errors
/// What is wrong with it.
pub fn check_revision(revision: &str) -> Result<(), String> {
    let part = |part: &str| !part.is_empty() && part.chars().all(is_plain) && !part.starts_with(['.', '-']);
    if revision.split('/').all(part) && !revision.contains("..") && revision.len() <= LONGEST_REVISION {
        return Ok(());
    }
    let expected = "expected a branch, a tag, a commit of 40 digits, or `refs/pr/` and a number";
    Err(format!("`{}` is not a revision, {expected}", revision.escape_debug()))
}

/// Whether the name of a file that a hub gives stays within the folder of the repository.
pub(super) fn is_file_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.len() <= LONGEST_FILE
        && name.split('/').all(part)
        && !name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
}

/// Whether this is a commit in full.
pub(super) fn is_commit(text: &str) -> bool {
    is_hex(text) && text.len() == 40
}

/// Whether these are digits in lower case of base 16.
pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// A path as it stands in an address.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| is_plain(char::from(byte)) || matches!(byte, b'/' | b'~');
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(escape).collect()
}

/// A number of bytes as hubs write it, in powers of ten: `990 MB`.
pub(super) fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for larger in units {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    match unit {
        "bytes" => format!("{bytes} bytes"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_lead_elsewhere_is_refused() {
        for good in ["google/t5-base-lm-adapt", "t5-base", "a/b.c_d", "google-t5/t5-3b"] {
            check_id(good).unwrap();
        }
        let long = "a".repeat(97);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "../a",
            "a/..",
            "a--b/c",
            "a b/c",
            "a/.b",
            "http://a/b",
            "a/b?c",
            "a\\b",
            &long,
        ] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
        for good in ["main", "v1.0", "refs/pr/2", "feature/x_y"] {
            check_revision(good).unwrap();
        }
        for bad in ["", "..", "a/../b", "/main", "main/", "a//b", "a b", ".hidden", "a/.b", "-x", "main?x", "a%2Fb"] {
            assert!(check_revision(bad).is_err(), "{bad}");
        }
        for good in ["config.json", "a/b c.txt", "..a", "a..b"] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/.", "a\\b", "C:a", "a\nb", "a\0"] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_revision_with_strokes_is_one_part_of_an_address() {
        let repo = Repo::new(Kind::Model, "google/t5-base-lm-adapt", "refs/pr/2").unwrap();
        assert_eq!(repo.listing_path(), "/api/models/google/t5-base-lm-adapt/revision/refs%2Fpr%2F2?blobs=true");
        assert_eq!(repo.file_path("c", "a b/ü?.bin"), "/google/t5-base-lm-adapt/resolve/c/a%20b/%C3%BC%3F.bin");
        assert_eq!(repo.folder(), "models--google--t5-base-lm-adapt");
        assert_eq!(repo.pinned(), None);
        let repo = Repo::new(Kind::Dataset, "glue", &"a".repeat(40)).unwrap();
        assert_eq!(repo.file_path("c", "x"), "/datasets/glue/resolve/c/x");
        assert_eq!(repo.folder(), "datasets--glue");
        assert!(repo.pinned().is_some());
    }

    #[test]
    fn sizes_are_those_that_a_hub_shows() {
        let all = [
            (731, "731 bytes"),
            (4_300_000, "4.3 MB"),
            (989_900_000, "990 MB"),
            (999_600, "1.0 MB"),
            (44_500_000_000, "44.5 GB"),
        ];
        for (bytes, shown) in all {
            assert_eq!(size(bytes), shown);
        }
    }
}
