//! Addresses of places: `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///folder`.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// The address of a place that many machines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) scheme: Scheme,
    text: String,
}

/// What kind of place it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A folder that other machines mount too, by its absolute path.
    File(PathBuf),
    /// A bucket of S3 or of what speaks as it does.
    S3(Bucket),
    /// A bucket of Google Cloud Storage.
    Google(Bucket),
    /// A container of Azure Blob Storage.
    Azure(Bucket),
}

/// A bucket, and what all names in it begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const EXPECTED: &str =
    "expected `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///folder`";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| format!("`{}` is no address; {EXPECTED}", shown(text)))?;
        let scheme = match scheme {
            "file" => Scheme::File(folder(rest)?),
            "s3" => Scheme::S3(bucket(text, rest)?),
            "gs" => Scheme::Google(bucket(text, rest)?),
            "az" => Scheme::Azure(bucket(text, rest)?),
            _ => return Err(format!("`{}`: nothing is known of `{scheme}://`; {EXPECTED}", shown(text))),
        };
        Ok(Self { scheme, text: text.trim_end_matches('/').to_owned() })
    }
}

/// Without what might be a password.
fn shown(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…@{}", &text[..scheme], &text[at + 1..]),
        _ => text.to_owned(),
    }
}

fn folder(rest: &str) -> Result<PathBuf, String> {
    if let Some(at) = rest.find('%') {
        let coded: String = rest[at..].chars().take(3).collect();
        return Err(format!(
            "`file://{rest}`: `{coded}` may be meant as it stands or for the character with that code; name a folder without `%`"
        ));
    }
    let path = Path::new(rest);
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && is_plain && path.parent().is_some() {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "`file://{rest}`: expected the absolute path of a folder, with three slashes: `file:///shared/spot`"
        ))
    }
}

fn bucket(text: &str, rest: &str) -> Result<Bucket, String> {
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let parts = || prefix.split('/').filter(|_| !prefix.is_empty());
    if name.is_empty() || !name.chars().all(good) {
        // Who asks is said by the environment; a password in an address would end up in messages.
        return Err(format!("`{}`: what follows `://` is not the name of a bucket; {EXPECTED}", shown(text)));
    }
    match parts().find(|part| part.is_empty() || part.chars().all(|c| c == '.') || !part.chars().all(good)) {
        None => Ok(Bucket { name: name.to_owned(), prefix: prefix.to_owned() }),
        Some(part) => Err(format!(
            "`{}`: `{part}` cannot be part of a prefix: letters, digits, `-`, `_` and `.` can",
            shown(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let address: Address = "s3://lab/spot/v2/".parse().unwrap();
        assert_eq!(address.scheme, Scheme::S3(Bucket { name: "lab".to_owned(), prefix: "spot/v2".to_owned() }));
        assert_eq!(address.to_string(), "s3://lab/spot/v2");
        assert_eq!(
            "gs://lab".parse::<Address>().unwrap().scheme,
            Scheme::Google(Bucket { name: "lab".to_owned(), prefix: String::new() })
        );
        assert_eq!("file:///a/b".parse::<Address>().unwrap().scheme, Scheme::File("/a/b".into()));
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_password_shown() {
        for bad in [
            "",
            "lab",
            "s3:/lab",
            "s3://",
            "s3:///x",
            "ftp://a",
            "file://a",
            "file:///",
            "file:///a/../b",
            "file:///a%20b",
            "s3://a/b//c",
            "s3://a/../b",
            "s3://a/b?x=1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        let error = "s3://me:secret@lab/x".parse::<Address>().unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
