//! Git LFS pointers: three lines of text in place of a file, which a clone without Git LFS leaves there.

use super::error::{Error, Result};

/// What every pointer begins with.
const FIRST_LINE: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Refuses a pointer in place of the file that was asked for.
///
/// # Errors
/// If these are the bytes of a pointer; says how many bytes the file itself has.
pub fn refuse(bytes: &[u8]) -> Result<()> {
    // A pointer is shorter than 1,024 bytes (git-lfs, docs/spec.md).
    let text = bytes.get(..bytes.len().min(1024)).filter(|text| text.starts_with(FIRST_LINE));
    let Some(text) = text else { return Ok(()) };
    let lines = String::from_utf8_lossy(text);
    let size = lines.lines().find_map(|line| line.strip_prefix("size ")).and_then(|size| size.parse::<u64>().ok());
    let size = size.map_or_else(String::new, |size| format!(" of {size} bytes"));
    Err(Error::Pointer(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_from_files() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 990345061\n";
        let error = refuse(pointer).unwrap_err().to_string();
        assert_eq!(
            error,
            "a Git LFS pointer in place of the file of 990345061 bytes; `git lfs pull` in its folder fetches it"
        );
        let error = refuse(b"version https://git-lfs.github.com/spec/v1").unwrap_err().to_string();
        assert!(error.starts_with("a Git LFS pointer in place of the file;"), "{error}");
        assert!(refuse(b"").is_ok() && refuse(b"{\"version\": \"1.0\"}").is_ok());
    }
}
