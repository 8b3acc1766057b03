//! Which files of a data set's repository are wanted: those of a config, by split; or what there is instead.

use super::layout::{Splits, by_name, check_complete, is_pattern, is_rows, matching};
use super::readme::{Config, DEFAULT, Readme};
use crate::data::Layout;
use crate::engine::manifest::problem::{listed, suggestion};
use crate::hub::{Choice, Choose, Extent, Offer};
use crate::ml::tasks::Split;

/// What of a data set is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) config: Option<String>,
    /// Names of splits, or of files and patterns of them; those that go by our names if nothing is said.
    pub(super) splits: Option<Vec<(Split, Vec<String>)>>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The config that it is of.
    pub(super) config: String,
    /// The files of every split, in the order of their names.
    pub(super) files: Vec<(Split, Vec<String>)>,
}

/// The file that describes a data set.
pub(super) const README: &str = "README.md";

/// Patterns of files that one config may have.
const MOST_PATTERNS: usize = 1000;

impl Choose for Wanted {
    fn choose(&self, offer: &Offer<'_>) -> Result<Choice, String> {
        let is_there = offer.names.iter().any(|name| name == README);
        let readme = match is_there.then(|| offer.read(README)) {
            Some(None) => return Ok(Choice::First(vec![README.to_owned()])),
            Some(Some(bytes)) => Some(bytes),
            None => None,
        };
        let found = self.find(offer.names, offer.extent, readme.as_deref())?;
        let files = found.files.into_iter().flat_map(|(_, files)| files);
        let mut files: Vec<String> = files.chain(is_there.then(|| README.to_owned())).collect();
        files.sort();
        Ok(Choice::All(files))
    }
}

impl Wanted {
    /// The files of what is asked for.
    ///
    /// # Errors
    /// What is lacking, and what there is.
    pub(super) fn find(&self, names: &[String], extent: Extent, readme: Option<&[u8]>) -> Result<Found, String> {
        // Whoever was told of other files must not take these for all of them.
        if extent == Extent::Part {
            return Err("some files are here and others are still to come".to_owned());
        }
        let offered = || {
            let readme = readme.map_or(Ok(None), Readme::parse).map_err(|why| format!("`{README}`: {why}"))?;
            self.offered(names, readme.as_ref())
        };
        let found = match &self.splits {
            Some(splits) if splits.iter().all(|(_, named)| named.iter().all(|name| is_file(name))) => {
                let config = self.config.clone().unwrap_or_else(|| DEFAULT.to_owned());
                let files = splits.iter().map(|(split, patterns)| Ok((*split, all_matching(names, patterns)?)));
                Found { config, files: files.collect::<Result<_, String>>()? }
            }
            Some(splits) => {
                let (config, offered) = offered()?;
                let named =
                    splits.iter().map(|(split, wanted)| Ok((*split, of_splits(names, &offered, wanted, &config)?)));
                Found { files: named.collect::<Result<_, String>>()?, config }
            }
            // Where nobody knows what there is, a split that is not here may be one that did not come.
            None if extent == Extent::Unknown && readme.is_none() => {
                return Err(
                    "it has no `README.md`, so nothing says whether these are all of its files; name them by `splits`"
                        .to_owned(),
                );
            }
            None => {
                let (config, offered) = offered()?;
                Found { files: usual(&offered, &config)?, config }
            }
        };
        check(&found.files)?;
        Ok(found)
    }

    /// The splits of the config that is meant, and its name.
    fn offered(&self, names: &[String], readme: Option<&Readme>) -> Result<(String, Splits), String> {
        let configs =
            readme.map_or_else(|| Ok(Vec::new()), Readme::configs).map_err(|why| format!("`{README}`: {why}"))?;
        let known: Vec<&str> = configs.iter().map(|config| config.name.as_str()).collect();
        if known.is_empty() {
            let mut configs = by_name(names);
            let known: Vec<&str> = configs.keys().map(String::as_str).collect();
            let name = self.one_of(&known, None, names)?.to_owned();
            return Ok((name.clone(), configs.remove(&name).unwrap_or_default()));
        }
        let default = configs.iter().find(|config| config.is_default).map(|config| config.name.as_str());
        let name = self.one_of(&known, default, names)?;
        let config = configs.iter().find(|config| config.name == name);
        Ok((name.to_owned(), config.map_or_else(|| Ok(Splits::new()), |config| splits_of(names, config))?))
    }

    /// The config that is meant among those that are known.
    fn one_of<'k>(&self, known: &[&'k str], default: Option<&'k str>, names: &[String]) -> Result<&'k str, String> {
        let found = |name: &str| known.iter().copied().find(|known| *known == name);
        match (&self.config, known) {
            (_, []) => Err(no_files(names)),
            (Some(wanted), _) => {
                let known = || known.iter().copied();
                found(wanted).ok_or_else(|| format!("it has no config `{wanted}`{}", suggestion(wanted, known())))
            }
            (None, &[only]) => Ok(only),
            (None, _) => default.or_else(|| found(DEFAULT)).ok_or_else(|| {
                format!("it has several configs, {}; say by `config` which is meant", listed(known.iter().copied()))
            }),
        }
    }
}

/// Whether this names files and not a split.
fn is_file(name: &str) -> bool {
    name.contains(['/', '*', '?']) || Layout::of(name).is_some()
}

/// Why a repository has no rows that could be read.
fn no_files(names: &[String]) -> String {
    let is_script = |name: &&String| name.ends_with(".py");
    if let Some(script) = names.iter().find(is_script) {
        return format!(
            "it has no files of rows that are read, but the program `{script}`, which is not run; what the hub made of it is \
             mostly there as `revision: refs/convert/parquet`"
        );
    }
    let files = listed(names.iter().map(String::as_str).filter(|name| !name.starts_with('.')));
    format!("it has no files whose names end in {}; found {files}", Layout::ENDINGS)
}

/// The splits of a config of a `README.md`.
fn splits_of(names: &[String], config: &Config) -> Result<Splits, String> {
    let folder =
        config.folder.as_deref().map(|folder| folder.trim_matches('/')).filter(|folder| !matches!(*folder, "" | "."));
    let within = |name: &str| folder.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"));
    let Some(splits) = &config.splits else {
        let inner: Vec<String> = names.iter().filter(|name| name.starts_with(&within(""))).cloned().collect();
        let all = by_name(&inner).into_values().flatten();
        return Ok(all.fold(Splits::new(), |mut splits, (split, files)| {
            splits.entry(split).or_default().extend(files);
            splits
        }));
    };
    let wild = splits.iter().flat_map(|(_, patterns)| patterns).filter(|pattern| is_pattern(pattern, true)).count();
    if wild > MOST_PATTERNS {
        let name = &config.name;
        return Err(format!(
            "`{README}` has {wild} patterns of files for the config `{name}`, expected at most {MOST_PATTERNS}"
        ));
    }
    let mut found = Splits::new();
    for (split, patterns) in splits {
        let mut files = Vec::new();
        for pattern in patterns {
            files.extend(matching(names, &within(pattern), true)?.into_iter().filter(|name| is_rows(name)));
        }
        files.sort();
        files.dedup();
        if found.insert(split.clone(), files).is_some() {
            return Err(format!("`{README}` has the split `{split}` of the config `{}` twice", config.name));
        }
    }
    Ok(found)
}

/// The files that fit any of these patterns, each of which must fit one.
fn all_matching(names: &[String], patterns: &[String]) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for pattern in patterns {
        let fitting: Vec<String> = matching(names, pattern, false)?.into_iter().filter(|name| is_rows(name)).collect();
        if fitting.is_empty() {
            let rows = names.iter().map(String::as_str).filter(|name| is_rows(name));
            return Err(format!("no file of rows is called `{pattern}`; found {}", listed(rows)));
        }
        files.extend(fitting);
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// The files of splits, and of patterns beside them.
fn of_splits(names: &[String], offered: &Splits, wanted: &[String], config: &str) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for name in wanted {
        match offered.get(name) {
            Some(_) if is_file(name) && names.contains(name) => {
                return Err(format!(
                    "`{name}` can be read in two ways: as a split of the config `{config}`, and as the file of that name; write the \
                     file as `./{name}`, or the split's files as a pattern"
                ));
            }
            Some(of_split) if !of_split.is_empty() => files.extend(of_split.iter().cloned()),
            Some(_) => return Err(no_file(name, config)),
            None if is_file(name) => files.extend(all_matching(names, std::slice::from_ref(name))?),
            None => return Err(no_split(name, offered, config)),
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn no_split(name: &str, offered: &Splits, config: &str) -> String {
    let known = listed(offered.keys().map(String::as_str));
    if offered.contains_key(&format!("partial-{name}")) {
        return format!(
            "the config `{config}` has only the beginning of the split `{name}`, as `partial-{name}`, since it is large; take that, or the \
             original files by another `revision`"
        );
    }
    if name.contains(['[', '+', '%']) {
        return format!(
            "the config `{config}` has no split `{name}`; parts are taken by `rows` of the stage, and several splits as a list: \
             `[train, validation]`; splits are {known}"
        );
    }
    format!("the config `{config}` has no split `{name}`; splits are {known}")
}

/// The splits that go by our names. A validation split that goes by another is not passed over.
fn usual(offered: &Splits, config: &str) -> Result<Vec<(Split, Vec<String>)>, String> {
    let (mut files, known) = (Vec::new(), listed(offered.keys().map(String::as_str)));
    for split in Split::ALL {
        match offered.get(split.name()) {
            Some(of_split) if of_split.is_empty() => return Err(no_file(split.name(), config)),
            Some(of_split) => files.push((split, of_split.clone())),
            None => {}
        }
    }
    let has = |split: Split| files.iter().any(|(known, _)| *known == split);
    if !has(Split::Train) {
        let hint = "say by `splits` which is which: `splits: {train: …, validation: …}`";
        return Err(format!("the config `{config}` has no split `train`; splits are {known}; {hint}"));
    }
    let mut others: Vec<&String> = offered.keys().filter(|name| Split::named(name).is_none()).collect();
    others.sort_by_key(|name| !name.contains("val") && !name.contains("dev"));
    match others.first() {
        Some(other) if !has(Split::Validation) => Err(format!(
            "the config `{config}` has no split `validation`; splits are {known}; if one of them is for validation, say so: `splits: {{train: \
             train, validation: {other}}}`; if none is, `splits: {{train: train}}` has a part of training split off"
        )),
        _ => Ok(files),
    }
}

fn no_file(split: &str, config: &str) -> String {
    format!("`{README}` has the split `{split}` of the config `{config}`, but no file of it is there")
}

/// Whether the files of every split are complete, and different.
fn check(splits: &[(Split, Vec<String>)]) -> Result<(), String> {
    for (at, (split, files)) in splits.iter().enumerate() {
        check_complete(files).map_err(|why| format!("split `{}`: {why}", split.name()))?;
        let layouts = |name: &String| Layout::of(name);
        if let Some(other) = files.iter().find(|name| layouts(name) != layouts(&files[0])) {
            return Err(format!(
                "split `{}`: `{}` and `{other}` are laid out in two ways; say by a pattern in `splits` which are meant",
                split.name(),
                files[0]
            ));
        }
        for (earlier, others) in &splits[..at] {
            if let Some(twice) = files.iter().find(|name| others.binary_search(name).is_ok()) {
                return Err(format!(
                    "`{twice}` is in `{}` and in `{}`; expected different files",
                    earlier.name(),
                    split.name()
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn wanted(config: &str, splits: &[(Split, &[&str])]) -> Wanted {
        let splits = splits.iter().map(|(split, names)| (*split, owned(names))).collect::<Vec<_>>();
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Wanted { config: said(config), splits: (!splits.is_empty()).then_some(splits) }
    }

    fn glue() -> Vec<String> {
        let mut names = owned(&["README.md", "ax/test-00000-of-00001.parquet"]);
        for config in ["cola", "rte"] {
            names.extend(
                ["test", "train", "validation"].map(|split| format!("{config}/{split}-00000-of-00001.parquet")),
            );
        }
        names.extend(
            ["test_matched", "train", "validation_matched", "validation_mismatched"]
                .map(|split| format!("mnli/{split}-00000-of-00001.parquet")),
        );
        names.sort();
        names
    }

    const FRONT: &str = "---\nconfigs:\n- config_name: ax\n  data_files:\n  - {split: test, path: 'ax/test-*'}\n- config_name: mnli\n  data_files:\n  \
                         - {split: train, path: 'mnli/train-*'}\n  - {split: validation_matched, path: 'mnli/validation_matched-*'}\n- config_name: \
                         rte\n  data_files:\n  - {split: train, path: 'rte/train-*'}\n  - {split: validation, path: 'rte/validation-*'}\n  - {split: \
                         test, path: 'rte/test-*'}\n---\n";

    fn find(wanted: &Wanted, names: &[String], readme: Option<&str>) -> Result<Vec<String>, String> {
        let found = wanted.find(names, Extent::Whole, readme.map(str::as_bytes))?;
        // What was found is found again when nothing else is there.
        let mut only: Vec<String> = found.files.iter().flat_map(|(_, files)| files.clone()).collect();
        only.sort();
        assert_eq!(wanted.find(&only, Extent::Whole, readme.map(str::as_bytes)).unwrap().files, found.files);
        let shown = |(split, files): &(Split, Vec<String>)| format!("{}: {}", split.name(), files.join(" "));
        Ok(found.files.iter().map(shown).collect())
    }

    #[test]
    fn a_config_is_found_by_the_readme_and_by_names() {
        let rte = [
            "train: rte/train-00000-of-00001.parquet",
            "validation: rte/validation-00000-of-00001.parquet",
            "test: rte/test-00000-of-00001.parquet",
        ];
        for readme in [None, Some("# GLUE\n"), Some(FRONT)] {
            assert_eq!(find(&wanted("rte", &[]), &glue(), readme).unwrap(), rte);
        }
        let convert = owned(&[
            "rte/test/0000.parquet",
            "rte/train/0000.parquet",
            "rte/train/0001.parquet",
            "rte/validation/0000.parquet",
        ]);
        let found = find(&wanted("rte", &[]), &convert, None).unwrap();
        assert_eq!(found[0], "train: rte/train/0000.parquet rte/train/0001.parquet");
        // A single config needs no name, nor does one that is the default.
        assert_eq!(find(&wanted("", &[]), &convert, None).unwrap(), found);
        let plain = owned(&["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]);
        assert_eq!(find(&wanted("", &[]), &plain, None).unwrap()[1], "test: data/test-00000-of-00001.parquet");
        let default = FRONT.replace("config_name: rte", "config_name: rte\n  default: true");
        assert_eq!(find(&wanted("", &[]), &glue(), Some(&default)).unwrap(), rte);
    }

    #[test]
    fn splits_go_by_the_names_that_are_given() {
        let matched = wanted("mnli", &[(Split::Train, &["train"]), (Split::Validation, &["validation_matched"])]);
        for readme in [None, Some(FRONT)] {
            let found = find(&matched, &glue(), readme).unwrap();
            assert_eq!(found[1], "validation: mnli/validation_matched-00000-of-00001.parquet");
        }
        let c4 = owned(&[
            "en/c4-train.00000-of-00002.json.gz",
            "en/c4-train.00001-of-00002.json.gz",
            "en/c4-validation.00000-of-00001.json.gz",
        ]);
        let files = wanted(
            "",
            &[
                (Split::Train, &["en/c4-train.*.json.gz"]),
                (Split::Validation, &["en/c4-validation.00000-of-00001.json.gz"]),
            ],
        );
        assert_eq!(
            find(&files, &c4, None).unwrap()[0],
            "train: en/c4-train.00000-of-00002.json.gz en/c4-train.00001-of-00002.json.gz"
        );
        let names = wanted("", &[(Split::Train, &["c4-train"])]);
        assert_eq!(find(&names, &c4, None).unwrap().len(), 1);
        let both = wanted("rte", &[(Split::Train, &["train", "validation"]), (Split::Test, &["test"])]);
        assert_eq!(
            find(&both, &glue(), None).unwrap()[0],
            "train: rte/train-00000-of-00001.parquet rte/validation-00000-of-00001.parquet"
        );
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let told = |wanted: &Wanted, names: &[String], readme: Option<&str>| find(wanted, names, readme).unwrap_err();
        for readme in [None, Some(FRONT)] {
            assert_eq!(told(&wanted("rt", &[]), &glue(), readme), "it has no config `rt`; did you mean `rte`?");
            assert!(told(&wanted("", &[]), &glue(), readme).contains("several configs, `ax`,"));
            assert!(
                told(&wanted("ax", &[]), &glue(), readme)
                    .contains("no split `train`; splits are `test`; say by `splits`")
            );
            assert!(told(&wanted("mnli", &[]), &glue(), readme).contains("validation: validation_matched}"));
            let dev = wanted("rte", &[(Split::Train, &["train"]), (Split::Validation, &["dev"])]);
            assert_eq!(
                told(&dev, &glue(), readme),
                "the config `rte` has no split `dev`; splits are `test`, `train`, `validation`"
            );
        }
        let twice = wanted("rte", &[(Split::Train, &["train"]), (Split::Test, &["train"])]);
        assert!(told(&twice, &glue(), None).contains("is in `train` and in `test`"));
        let script = owned(&["README.md", "glue.py"]);
        assert!(told(&wanted("rte", &[]), &script, None).contains("`revision: refs/convert/parquet`"));
        assert!(told(&wanted("", &[]), &owned(&["a.zip"]), None).contains("found `a.zip`"));
        let part = owned(&["default/partial-train/0000.parquet"]);
        assert!(told(&wanted("", &[(Split::Train, &["train"])]), &part, None).contains("as `partial-train`"));
        let slice = wanted("rte", &[(Split::Train, &["train[:10%]"])]);
        assert!(told(&slice, &glue(), None).contains("parts are taken by `rows`"));
        let gap = owned(&["data/train-00000-of-00002.parquet"]);
        assert!(told(&wanted("", &[]), &gap, None).contains("shard 1 of 2"));
        let mixed = owned(&["a/train.csv", "a/train.jsonl"]);
        assert!(told(&wanted("", &[]), &mixed, None).contains("laid out in two ways"));
        let none = wanted("", &[(Split::Train, &["*.xml"])]);
        assert!(told(&none, &mixed, None).contains("no file of rows is called `*.xml`; found `a/train.csv`"));
        let empty = FRONT.replace("rte/test-*", "rte/tset-*");
        let test = wanted("rte", &[(Split::Train, &["train"]), (Split::Test, &["test"])]);
        assert!(told(&test, &glue(), Some(&empty)).contains("but no file of it is there"));
    }

    #[test]
    fn a_part_of_the_files_is_not_taken_for_all() {
        let train = owned(&["data/train-00000-of-00001.parquet"]);
        let find = |wanted: &Wanted, extent| wanted.find(&train, extent, None);
        assert!(find(&wanted("", &[]), Extent::Whole).is_ok());
        assert!(find(&wanted("", &[]), Extent::Unknown).unwrap_err().contains("name them by `splits`"));
        let named = wanted("", &[(Split::Train, &["train"])]);
        assert!(find(&named, Extent::Unknown).is_ok() && find(&named, Extent::Part).is_err());
        let front = "---\nconfigs:\n- data_files:\n  - {split: train, path: 'data/train-*'}\n  - {split: test, path: 'data/test-*'}\n---\n";
        let usual = wanted("", &[]).find(&train, Extent::Unknown, Some(front.as_bytes()));
        assert!(usual.unwrap_err().contains("`test`"));
    }
}
