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

/// Bytes of the longest name of a file, and of what is kept of a longer one.
const LONGEST: usize = 200;
const KEPT: usize = 150;
/// Digits of the digest behind a name that was cut.
const DIGITS: usize = 12;

/// A name as one component of a path, without characters that mean something in globs, shells and addresses; two names never become
/// one. [`readable`] undoes it.
pub(in crate::engine) fn file_name(name: &str) -> String {
    fitting(escaped(name), name)
}

/// The name of a job as one component of a path, as [`file_name`]: `source[mnli,0]` is `source,mnli,0`, and what it asked for,
/// `transfer[rte,0]/mnli,0`, is `transfer,rte,0+mnli,0`. [`job_name`] undoes it.
pub(super) fn job_folder(job: &str) -> String {
    let (own, asked_for) = job.split_once('/').map_or((job, None), |(own, asked_for)| (own, Some(asked_for)));
    let mut folder = match point(own) {
        Some((stage, values)) => format!("{},{}", escaped(stage), escaped(values)),
        None => escaped(own).replace(',', "%2C"),
    };
    if let Some(asked_for) = asked_for {
        folder = format!("{folder}+{}", escaped(asked_for));
    }
    // What begins with it is an option to many programs.
    if folder.starts_with('-') {
        folder.replace_range(..1, "%2D");
    }
    fitting(folder, job)
}

/// The stage in the name of a job, and the values of its matrix.
fn point(job: &str) -> Option<(&str, &str)> {
    let (stage, values) = job.strip_suffix(']')?.split_once('[')?;
    (!stage.contains(',')).then_some((stage, values))
}

fn escaped(name: &str) -> String {
    let mut safe = String::new();
    for (i, c) in name.chars().enumerate() {
        let is_plain = c.is_ascii_alphanumeric()
            || matches!(c, '-' | '_' | ',')
            || (c == '.' && i > 0)
            || !(c.is_ascii() || c.is_whitespace() || c.is_control());
        if is_plain {
            safe.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| safe += &format!("%{byte:02X}"));
        }
    }
    safe
}

/// A name that no file system finds too long: one that is has the digest of the whole behind its beginning.
fn fitting(safe: String, whole: &str) -> String {
    if safe.len() <= LONGEST {
        return safe;
    }
    let end = (0..=KEPT).rev().find(|&i| safe.is_char_boundary(i)).unwrap_or(0);
    format!("{}~{}", &safe[..end], Digest::of(whole.as_bytes()).short())
}

/// Whether a name was cut by [`fitting`], so that nobody knows what it was made from.
pub(super) fn is_cut(file_name: &str) -> bool {
    let cut = file_name.rsplit_once('~').filter(|(kept, _)| kept.len() > KEPT - 4);
    cut.is_some_and(|(_, digits)| digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// What [`file_name`] was made from, long names excepted.
pub(super) fn readable(file_name: &str) -> String {
    let mut name = Vec::new();
    let mut rest = file_name;
    while let Some((before, after)) = rest.split_once('%') {
        name.extend(before.bytes());
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        name.push(byte.unwrap_or(b'%'));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    name.extend(rest.bytes());
    String::from_utf8(name).unwrap_or_else(|_| file_name.to_owned())
}

/// What [`job_folder`] was made from, long names excepted. Folders of programs before it are read too: they had brackets and `%2F`.
pub(super) fn job_name(folder: &str) -> String {
    let (own, asked_for) = folder.split_once('+').map_or((folder, None), |(own, asked_for)| (own, Some(asked_for)));
    if own.contains('[') || own.contains("%2F") {
        return readable(folder);
    }
    let own = match own.split_once(',') {
        Some((stage, values)) => format!("{}[{}]", readable(stage), readable(values)),
        None => readable(own),
    };
    asked_for.map_or(own.clone(), |asked_for| format!("{own}/{}", readable(asked_for)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const JOBS: [&str; 24] = [
        "backbone",
        "source[mnli,0]",
        "source[mnli]",
        "source",
        "source,mnli,0",
        "source[mnli,0",
        "source]mnli,0",
        "a[b]c",
        "a[[b]]",
        "a,b[c]",
        "a[b,c]",
        "transfer[rte,0]/mnli,0",
        "transfer/mnli,0",
        "transfer/a/b",
        "t[a+b]",
        "t/a+b",
        "t[0.3]",
        "t[a b]",
        "t[50%]",
        "t[%2C]",
        "-t[-1]",
        ".t",
        "stufe[ärger,ß]",
        "t[a*?!~&;|<>'\"$`#(){}\u{2028}:\\]",
    ];

    #[test]
    fn folders_of_jobs_are_plain_and_tell_which_job() {
        let folders: BTreeSet<String> = JOBS.iter().map(|job| job_folder(job)).collect();
        assert_eq!(folders.len(), JOBS.len(), "{folders:?}");
        for job in JOBS {
            let folder = job_folder(job);
            assert_eq!(job_name(&folder), job, "{folder}");
            let is_plain = |c: char| c.is_alphanumeric() || "-_.,+%".contains(c);
            assert!(folder.chars().all(is_plain) && !folder.starts_with(['.', '-']), "{folder}");
        }
        let spelled = ["source[mnli,0]", "transfer[rte,0]/mnli,0", "t[0.3]", "t[a b]"].map(job_folder);
        assert_eq!(spelled, ["source,mnli,0", "transfer,rte,0+mnli,0", "t,0.3", "t,a%20b"]);
    }

    #[test]
    fn folders_of_before_are_read() {
        for (folder, job) in
            [("source[mnli,0]", "source[mnli,0]"), ("restart[rte]%2F1,0", "restart[rte]/1,0"), ("t%2Fa+b", "t/a+b")]
        {
            assert_eq!(job_name(folder), job);
        }
    }

    #[test]
    fn long_names_stay_apart() {
        let [one, other] = ["x", "y"].map(|end| job_folder(&format!("t[{}{end}]", "long ".repeat(40))));
        assert!(one != other && one.len() <= LONGEST && is_cut(&one) && is_cut(&other), "{one}");
        assert!(!is_cut("t,a") && !is_cut(&job_folder("t[a~0123456789ab]")));
    }
}
