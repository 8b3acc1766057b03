//! Files of a project that are read together with a manifest: what a stage means may stand in one of them.

use std::io::{self, Read};
use std::path::PathBuf;

/// The texts of a project.
#[derive(Clone, Debug)]
pub struct Library {
    root: PathBuf,
}

/// Bytes of the longest text.
const LONGEST: u64 = 1 << 20;

impl Library {
    /// That of a project.
    pub fn of(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The text of a file, without a byte order mark; `None` if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, is too long or is not UTF-8; names the file.
    pub fn text(&self, path: &str) -> io::Result<Option<String>> {
        let file = match fs_err::File::open(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{path}` {what}"));
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            return Err(wrong("is longer than 1 MiB, expected a page of text"));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
        Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
    }

    /// The names, without their ending, of the files of a folder that end so, sorted; none if there is no such folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn names(&self, folder: &str, ending: &str) -> io::Result<Vec<String>> {
        let items = match fs_err::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            items => items?,
        };
        let mut names = Vec::new();
        for item in items {
            let path = item?.path();
            let is_one = path.extension().is_some_and(|found| found == ending) && path.is_file();
            names.extend(path.file_stem().filter(|_| is_one).map(|name| name.to_string_lossy().into_owned()));
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_by_their_names() {
        let folder = tempfile::TempDir::new().unwrap();
        let library = Library::of(folder.path());
        assert_eq!(library.text("tasks/a.yaml").unwrap(), None);
        assert!(library.names("tasks", "yaml").unwrap().is_empty());
        fs_err::create_dir_all(folder.path().join("tasks/c.yaml")).unwrap();
        let files: [(&str, &[u8]); 4] =
            [("b.yaml", b"\xef\xbb\xbfx"), ("a.yaml", b"y"), ("a.yml", b""), ("d.yaml", b"\xff")];
        files.iter().for_each(|(name, bytes)| fs_err::write(folder.path().join("tasks").join(name), bytes).unwrap());
        assert_eq!(library.names("tasks", "yaml").unwrap(), ["a", "b", "d"]);
        assert_eq!(library.text("tasks/b.yaml").unwrap().as_deref(), Some("x"));
        assert_eq!(library.text("tasks/d.yaml").unwrap_err().to_string(), "`tasks/d.yaml` is not UTF-8 text");
        fs_err::write(folder.path().join("tasks/e.yaml"), vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(library.text("tasks/e.yaml").unwrap_err().to_string().contains("longer than 1 MiB"));
    }
}
