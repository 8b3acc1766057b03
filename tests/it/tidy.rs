//! What no compiler checks: which layer imports which, and that every module says what it is for.

use super::shell::PROJECT;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every Rust file below `src`, by its path from there, with its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(PROJECT).join("src");
    let mut open: Vec<PathBuf> = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|item| item.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            sources.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    sources.sort();
    assert!(sources.len() > 50);
    sources
}

/// The modules at the top that a text names after `crate::`.
fn imports(text: &str) -> BTreeSet<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .collect()
}

#[test]
fn layers_import_only_what_is_below_them() {
    for (name, text) in sources() {
        let layer = name.split(['/', '.']).next().unwrap();
        let allowed: &[&str] = match layer {
            // Below everything: they know nothing of any of it.
            "braces" | "panic" | "replace" | "units" => &[],
            "trust" => &["trust"],
            "remote" => &["remote", "panic", "replace"],
            "engine" => &["engine", "panic", "remote", "replace", "trust", "units"],
            "ml" => &["ml", "braces", "panic"],
            "data" => &["data", "ml", "panic"],
            "hub" => &["hub", "replace"],
            "report" => &["report", "data", "ml"],
            "stages" => &["stages", "engine", "ml", "data", "hub", "report", "braces", "panic", "replace"],
            "ui" | "error" => &["ui", "error", "engine", "panic", "units"],
            "cli" => &[
                "cli", "engine", "ui", "error", "report", "ml", "data", "remote", "stages", "panic", "replace",
                "trust", "units",
            ],
            "lib" | "main" => &[],
            other => panic!("`{other}` has no place among the layers"),
        };
        for import in imports(&text) {
            assert!(allowed.contains(&import), "{name}: `{layer}` must not import `{import}`");
        }
    }
}

#[test]
fn metadata_become_values_where_files_are_read() {
    // These keep files that nobody else reads.
    let own = ["stages/embed.rs", "stages/checkpoint.rs"];
    for (name, text) in sources() {
        let is_above = ["stages/", "report/", "cli/"].iter().any(|layer| name.starts_with(layer));
        if is_above && !own.contains(&name.as_str()) {
            let texts = text.split(".metadata").skip(1).find(|rest| !rest.starts_with('('));
            assert!(texts.is_none(), "{name} reads metadata as text; `data` and `ml::prompt` have their values");
        }
    }
}

#[test]
fn every_module_opens_with_what_it_is_for() {
    for (name, text) in sources() {
        assert!(text.starts_with("//! "), "{name} does not open with `//!`");
    }
}

#[test]
fn nothing_is_left_to_do() {
    for (name, text) in sources() {
        for word in ["todo!", "unimplemented!", "#[ignore", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{name} has `{word}`");
        }
    }
}

#[test]
fn files_are_opened_with_errors_that_name_them() {
    // Types of the standard library that `fs_err` passes through.
    let types = ["std::fs::TryLockError", "std::fs::Metadata"];
    for (name, mut text) in sources() {
        for allowed in types {
            text = text.replace(allowed, "");
        }
        assert!(!text.contains("std::fs"), "{name} uses `std::fs`; take `fs_err`");
        // Modules of tests read golden and published files.
        let tests = ["ml/model/tests.rs", "ml/world/tests.rs", "ml/tasks/shared.rs"].contains(&name.as_str());
        let code = text.split("#[cfg(test)]").next().unwrap();
        let touches = !tests && code.contains("fs_err") && name.starts_with("ml/");
        assert!(!touches, "{name}: `ml` touches no files");
    }
}

#[test]
fn only_the_hub_and_shared_stores_reach_the_network() {
    for (name, text) in sources() {
        let reaches = ["ureq", "std::net", "TcpStream"].iter().any(|word| text.contains(word));
        assert!(!reaches || name.starts_with("hub/"), "{name}: what is fetched is fetched by `hub`");
        let shares = ["object_store", "tokio"].iter().any(|word| text.contains(word));
        assert!(!shares || name.starts_with("remote/"), "{name}: what machines share is reached by `remote`");
    }
}
