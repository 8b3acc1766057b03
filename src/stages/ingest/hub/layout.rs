//! Which files of a repository are rows, and what their names say: `rte/train-00000-of-00001.parquet`.

use crate::data::{Layout, without_packing};
use glob::{MatchOptions, Pattern};
use std::collections::{BTreeMap, BTreeSet};

/// The splits of a config, by name, and the files of each.
pub(super) type Splits = BTreeMap<String, Vec<String>>;

/// The configs of a repository that lists none, by the folders of their files. Where there are Parquet files, no others count.
pub(super) fn by_name(names: &[String]) -> BTreeMap<String, Splits> {
    let is_parquet = |name: &str| Layout::of(name) == Some(Layout::Parquet);
    let has_parquet = names.iter().any(|name| is_rows(name) && is_parquet(name));
    let mut configs: BTreeMap<String, Splits> = BTreeMap::new();
    for name in names.iter().filter(|name| is_rows(name) && (!has_parquet || is_parquet(name))) {
        let (config, split) = config_and_split(name);
        let files = configs.entry(config.to_owned()).or_default().entry(split.to_owned()).or_default();
        files.push(name.clone());
    }
    configs
}

/// Whether a file may hold rows: its name has an ending of tables, and it is not one of those that describe a data set.
pub(super) fn is_rows(name: &str) -> bool {
    const DESCRIPTIONS: [&str; 3] = ["dataset_infos.json", "dataset_info.json", "dataset_dict.json"];
    let (_, file) = folder_and_file(name);
    let is_hidden = name.split('/').any(|part| part.starts_with(['.', '_']));
    Layout::of(name).is_some() && !is_hidden && !DESCRIPTIONS.contains(&file)
}

fn folder_and_file(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// The name of a file without the ending of its layout and that of its packing.
fn stem(file: &str) -> &str {
    let file = without_packing(file);
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// What the path of a file stands for. In the branch that a hub makes by itself shards are numbers in the folder of their split, and
/// elsewhere the split is in the name. The folder of a data set that has no configs is `data`, or none.
fn config_and_split(name: &str) -> (&str, &str) {
    let (folder, file) = folder_and_file(name);
    let (folder, split) = if is_numbered(file) { folder_and_file(folder) } else { (folder, without_shard(stem(file))) };
    (if matches!(folder, "" | "data") { super::readme::DEFAULT } else { folder }, split)
}

/// Whether a file is called as a hub calls the shards that it makes by itself: `0000.parquet`.
fn is_numbered(file: &str) -> bool {
    const DIGITS: usize = 4;
    Layout::of(file) == Some(Layout::Parquet) && is_number(stem(file)) && stem(file).len() == DIGITS
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name without `-00000-of-00005`, and the hash that may follow.
fn without_shard(stem: &str) -> &str {
    let cut = || {
        let (before, after) = stem.rsplit_once("-of-")?;
        let (split, number) = before.rsplit_once(['-', '.', '_'])?;
        let count = after.split_once('-').map_or(after, |(count, _)| count);
        (is_number(number) && is_number(count)).then_some(split)
    };
    cut().unwrap_or(stem)
}

/// The files that fit a pattern, in which `*` and `?` stand for letters of one name. In those of a `README.md` `**` stands for folders
/// too, and `[…]` for one of some letters.
///
/// # Errors
/// If it is no pattern.
pub(super) fn matching(names: &[String], pattern: &str, brackets: bool) -> Result<Vec<String>, String> {
    const LONGEST: usize = 1000;
    let pattern = pattern.trim_start_matches("./");
    let plain = |letter: char| match letter {
        '*' | '?' => letter.to_string(),
        _ => Pattern::escape(letter.encode_utf8(&mut [0; 4])),
    };
    let written = if brackets { pattern.to_owned() } else { pattern.chars().map(plain).collect() };
    if !is_pattern(pattern, brackets) {
        return Ok(names.iter().filter(|name| *name == pattern).cloned().collect());
    }
    if pattern.len() > LONGEST {
        return Err(format!("a pattern of files has {} letters, expected at most {LONGEST}", pattern.len()));
    }
    let fits = Pattern::new(&written).map_err(|error| format!("`{pattern}` is not a pattern of files: {error}"))?;
    let options =
        MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..MatchOptions::new() };
    Ok(names.iter().filter(|name| fits.matches_with(name, options)).cloned().collect())
}

/// Whether a name may stand for several files.
pub(super) fn is_pattern(name: &str, brackets: bool) -> bool {
    name.contains(['*', '?']) || brackets && name.contains('[')
}

/// Whether no shard of the files is missing, as far as their names tell.
///
/// # Errors
/// Which one is.
pub(super) fn check_complete(files: &[String]) -> Result<(), String> {
    let mut folders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in files {
        let (folder, file) = folder_and_file(name);
        folders.entry(folder).or_default().push(file.to_owned());
    }
    for (folder, files) in folders {
        let numbered = files.iter().filter(|file| is_numbered(file)).map(|file| stem(file));
        // Years are no shards.
        let is_series = numbered.clone().any(|stem| stem.starts_with('0'));
        let numbers: BTreeSet<usize> = numbered.flat_map(str::parse).collect();
        let missing = (0..numbers.len()).find(|number| !numbers.contains(number));
        if let Some(missing) = missing.filter(|_| is_series) {
            return Err(format!("`{folder}`: shard {missing} is missing, but there are others"));
        }
        let shown = if folder.is_empty() { String::new() } else { format!("`{folder}`: ") };
        crate::engine::files_input::complete(files).map_err(|why| format!("{shown}{why}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_say_config_and_split() {
        for (name, config, split) in [
            ("rte/train-00000-of-00001.parquet", "rte", "train"),
            ("data/train-00000-of-00002-b42a775f407cee45.parquet", "default", "train"),
            ("mnli/validation_matched-00000-of-00001.parquet", "mnli", "validation_matched"),
            ("rte/train/0000.parquet", "rte", "train"),
            ("default/partial-train/0003.parquet", "default", "partial-train"),
            ("en/c4-train.00000-of-01024.json.gz", "en", "c4-train"),
            ("train.csv", "default", "train"),
            ("a/b/dev.jsonl.zst", "a/b", "dev"),
            ("best-of-2.csv", "default", "best-of-2"),
            ("0000.parquet", "default", ""),
            ("years/2019.csv", "years", "2019"),
        ] {
            assert_eq!(config_and_split(name), (config, split), "{name}");
        }
    }

    #[test]
    fn parquet_goes_before_other_files() {
        let both = owned(&[
            ".gitattributes",
            "README.md",
            "dataset_infos.json",
            "rte/train-00000-of-00001.parquet",
            "train.csv",
        ]);
        assert_eq!(by_name(&both).keys().collect::<Vec<_>>(), ["rte"]);
        let plain =
            owned(&["README.md", "glue.py", "dataset_infos.json", "train.csv", "dev.csv", ".x/a.csv", "notes.txt"]);
        let found = by_name(&plain);
        assert_eq!(found["default"].keys().collect::<Vec<_>>(), ["dev", "train"]);
        assert!(by_name(&owned(&["README.md", "glue.py"])).is_empty());
    }

    #[test]
    fn patterns_stay_within_a_folder() {
        let names = owned(&["a/.x.csv", "a/b/train.csv", "a/train-1.csv", "a/train[1].csv", "train.csv"]);
        let found = |pattern: &str, brackets| matching(&names, pattern, brackets).unwrap();
        assert_eq!(found("*.csv", true), ["train.csv"]);
        assert_eq!(found("./a/*", true), ["a/train-1.csv", "a/train[1].csv"]);
        assert_eq!(found("**/train*", true).len(), 4);
        assert_eq!(found("a/train[1].csv", false), ["a/train[1].csv"]);
        assert_eq!(found("a/train-[0-9].csv", true), ["a/train-1.csv"]);
        assert!(matching(&names, "a/[", true).unwrap_err().contains("is not a pattern"));
        assert!(matching(&names, &"*".repeat(2000), true).is_err());
    }

    #[test]
    fn of_shards_none_may_be_missing() {
        let check = |names: &[&str]| check_complete(&owned(names));
        check(&["rte/train/0000.parquet", "rte/train/0001.parquet", "best-of-2/train-00000-of-00001.parquet"]).unwrap();
        check(&["years/2019.parquet", "years/2021.parquet"]).unwrap();
        assert_eq!(
            check(&["rte/train/0001.parquet"]).unwrap_err(),
            "`rte/train`: shard 0 is missing, but there are others"
        );
        let told = check(&["a/x.parquet", "a/train-00001-of-00002.parquet"]).unwrap_err();
        assert_eq!(told, "`a`: shard 0 of 2 of `train-*.parquet` is missing, 1 are there; complete them");
    }
}
