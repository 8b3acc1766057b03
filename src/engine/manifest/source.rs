//! The files of a manifest: itself, the one that it extends, the one that this one extends, and so on.

use super::node::{Node, Value, parse_file};
use super::problem::{Problem, Problems, clipped, suggestion};
use super::project;
use super::{LoadError, TOP};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// A file as it was read.
#[derive(Debug)]
pub struct File {
    /// Where it is, by the path of the manifest.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A manifest and those that it extends.
pub(super) struct Family {
    /// The manifest, then what it extends, one after the other.
    pub(super) files: Vec<File>,
    /// What each of them says.
    pub(super) roots: Vec<Node>,
    /// What is wrong with their keys and versions.
    pub(super) found: Vec<Problem>,
}

/// Bytes of the longest manifest.
const LONGEST: u64 = 1 << 20;
/// How many manifests extend each other.
const MOST: usize = 8;

impl Family {
    /// Reads the manifest at `path`, and what it extends.
    ///
    /// # Errors
    /// If one of them cannot be read, is not YAML, or does not look like a manifest.
    pub(super) fn read(path: &Path) -> Result<Self, LoadError> {
        let text = read(path).map_err(|error| LoadError::Io { path: path.to_owned(), error })?;
        let file = File { path: path.to_owned(), text };
        let mut family = Self { files: vec![file], roots: Vec::new(), found: Vec::new() };
        match family.read_all() {
            Ok(()) => Ok(family),
            Err(problems) => Err(Problems::new(family.files, [family.found, problems].concat()).into()),
        }
    }

    /// The manifest itself.
    pub(super) fn root(&self) -> &Node {
        &self.roots[0]
    }

    /// What the manifests say, each after the one that it extends.
    pub(super) fn oldest_first(&self) -> impl DoubleEndedIterator<Item = &Node> + Clone {
        self.roots.iter().rev()
    }

    /// Parses the last file, then the one that it extends. An error is what nothing more can be read after.
    fn read_all(&mut self) -> Result<(), Vec<Problem>> {
        loop {
            let at = self.files.len() - 1;
            let root = parse_file(&self.files[at].text, at)?;
            top(&root, &mut self.found)?;
            let parent = root.get("extends").map(|extends| self.parent(extends).map_err(|problem| vec![problem]));
            self.roots.push(root);
            match parent {
                Some(file) => self.files.push(file?),
                None => return Ok(()),
            }
        }
    }

    /// The file that the last one extends.
    fn parent(&self, extends: &Node) -> Result<File, Problem> {
        let wrong = |message: String| Problem::new(extends.place, message);
        let written = match extends.text() {
            Some(text) if text.contains("${") => {
                return Err(wrong(format!(
                    "`extends` is `{}`, but no variable is known yet; expected a path",
                    clipped(text)
                )));
            }
            Some(text) if !text.is_empty() => Path::new(text),
            _ => return Err(wrong(format!("`extends` is {}, expected the path of one manifest", extends.describe()))),
        };
        let path = beside(&self.files[self.files.len() - 1].path, written);
        let real = self.real(&path, written).map_err(wrong)?;
        self.check_chain(&path, &real).map_err(wrong)?;
        let text = read(&path).map_err(|error| wrong(format!("`extends`: {error}")))?;
        Ok(File { path, text })
    }

    /// Where a file really is that is to be extended: in the project of the manifest.
    fn real(&self, path: &Path, written: &Path) -> Result<PathBuf, String> {
        let project = project::of(&self.files[0].path);
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let is_outside = |path: &Path| written.is_absolute() || !path.starts_with(&project);
        match fs_err::canonicalize(path) {
            Ok(real) if is_outside(&real) => Err(leads_out(written)),
            Ok(real) if real.is_file() => Ok(real),
            Ok(_) => Err(format!("`extends` is `{}`, which is not a file; expected a manifest", written.display())),
            Err(error) if is_missing(&error) && is_outside(&nearest(path)) => Err(leads_out(written)),
            Err(error) if is_missing(&error) => Err(missing(path, written)),
            Err(error) => Err(format!("`extends`: {error}")),
        }
    }

    fn check_chain(&self, path: &Path, real: &Path) -> Result<(), String> {
        let is_same = |file: &File| fs_err::canonicalize(&file.path).is_ok_and(|other| other == real);
        if let Some(first) = self.files.iter().position(is_same) {
            let chain = self.files[first..].iter().map(|file| file.path.as_path()).chain([path]);
            let chain: Vec<String> = chain.map(|path| path.display().to_string()).collect();
            return Err(format!("manifests extend each other in a cycle: {}", chain.join(" -> ")));
        }
        if self.files.len() == MOST {
            return Err(format!("more than {MOST} manifests extend each other; put together what belongs together"));
        }
        Ok(())
    }
}

/// Checks the keys of a manifest and its version. What follows would be noise where it is not a mapping, or of a version with
/// another grammar.
fn top(root: &Node, found: &mut Vec<Problem>) -> Result<(), Vec<Problem>> {
    if root.value == Value::Null {
        return Err(vec![Problem::new(root.place, "an empty manifest; expected `version: 1`, `name` and `stages`")]);
    }
    if !matches!(root.value, Value::Map(_)) {
        let message =
            format!("a manifest is a mapping with `version`, `name` and `stages`, but this is {}", root.describe());
        return Err(vec![Problem::new(root.place, message)]);
    }
    match root.get("version") {
        Some(Node { value: Value::Int(1), .. }) => {}
        Some(other) => {
            let message = format!("`version` is {}, but this program reads version 1", other.describe());
            return Err(vec![Problem::new(other.place, message)]);
        }
        None => found.push(Problem::new(root.place, "no `version`; expected `version: 1`")),
    }
    for (key, _) in root.entries().iter().filter(|(key, _)| !TOP.contains(&key.text.as_str())) {
        let hint = suggestion(&key.text, TOP);
        found.push(Problem::new(key.place, format!("unknown key `{}` of a manifest{hint}", clipped(&key.text))));
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<String> {
    let invalid =
        |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("manifest `{}` {what}", path.display()));
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(invalid("is longer than 1 MiB; a manifest is a page or two".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        invalid(format!("is not UTF-8 text in line {line}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A path that is written in a file, from where that file's path is from.
fn beside(file: &Path, written: &Path) -> PathBuf {
    let mut path = file.parent().unwrap_or(Path::new("")).to_owned();
    for component in written.components() {
        match component {
            Component::CurDir => {}
            // What is above a folder that was entered by name is the folder before it; symbolic links are followed later.
            Component::ParentDir if matches!(path.components().next_back(), Some(Component::Normal(_))) => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}

/// The real path of the nearest folder above a file that is not there.
fn nearest(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for component in std::path::absolute(path).iter().flat_map(|path| path.components()) {
        match component {
            Component::ParentDir => drop(whole.pop()),
            other => whole.push(other),
        }
    }
    whole.ancestors().find_map(|folder| fs_err::canonicalize(folder).ok()).unwrap_or_default()
}

fn leads_out(written: &Path) -> String {
    let written = written.display().to_string();
    format!("`extends` is `{}`, which leads out of the project; expected a manifest of the project", clipped(&written))
}

/// That a file is not there, with one of the same folder that may be meant.
fn missing(path: &Path, written: &Path) -> String {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let items = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let names = items.filter_map(|item| item.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    names.sort();
    let name = written.file_name().unwrap_or_default().to_string_lossy();
    let hint = suggestion(&name, names.iter().map(String::as_str));
    let written = written.display().to_string();
    format!(
        "`extends` is `{}`, but there is no file `{}`{hint}",
        clipped(&written),
        clipped(&path.display().to_string())
    )
}
