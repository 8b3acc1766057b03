//! Tasks are told apart by their names, and their runs by name and seed: in mixtures, rankings, transfers and reports. Two data sets of
//! one name are found here, before anything runs.

use crate::engine::stage::{Issue, Known, Subject};
use std::collections::HashMap;

/// What to do about two data sets of one name.
const RENAME: &str =
    "give one of the data sets another name, by `name` in `from: {files: …}`, `{table: …}` or `{text: …}`";

/// Checks that data sets that are mixed are of different tasks.
///
/// # Errors
/// An issue in `field` that names the two of one task.
pub(super) fn check_mixture(field: &str, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
    let mut seen: HashMap<String, String> = HashMap::new();
    for Known { job, subject } in inputs(field) {
        if let Some(other) = seen.insert(subject.name.clone(), job.clone()) {
            let message = format!(
                "has two data sets of the task `{}`, `{other}` and `{job}`; a mixture has one of each: {RENAME}",
                subject.name
            );
            return Err(Issue::new(field, message));
        }
    }
    Ok(())
}

/// Checks that what is read in these roles together can be told apart by task and seed.
///
/// # Errors
/// An issue in the role that brings the second of two.
pub(super) fn check_apart(roles: &[&str], inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
    let mut seen: HashMap<(String, Option<String>), (String, String)> = HashMap::new();
    for role in roles {
        for Known { job, subject } in inputs(role) {
            let source = subject.source.as_deref().cloned();
            for Subject { name, run, origin, .. } in [Some(subject), source].into_iter().flatten() {
                let Some(origin) = origin else { continue };
                let (other, known) = seen.entry((name.clone(), run)).or_insert_with(|| (job.clone(), origin.clone()));
                if *known != origin {
                    let message = format!(
                        "has two data sets called `{name}`, behind `{other}` and `{job}`, which nothing tells apart; {RENAME}"
                    );
                    return Err(Issue::new(*role, message));
                }
            }
        }
    }
    Ok(())
}

/// What a tuning on these data sets is about.
pub(super) fn learned(data: Vec<Known>, run: String, source: Option<Subject>) -> Option<Subject> {
    let mut data: Vec<Subject> = data.into_iter().map(|known| known.subject).collect();
    data.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = data.iter().map(|subject| subject.name.as_str()).collect();
    let origins: Option<Vec<&str>> = data.iter().map(|subject| subject.origin.as_deref()).collect();
    let source = source.map(|source| Box::new(Subject { source: None, ..source }));
    (!names.is_empty()).then(|| Subject {
        name: names.join("+"),
        run: Some(run),
        origin: origins.map(|origins| origins.join(" + ")),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(job: &str, name: &str, run: &str, origin: Option<&str>) -> Known {
        let subject = Subject {
            name: name.to_owned(),
            run: Some(run.to_owned()),
            origin: origin.map(str::to_owned),
            source: None,
        };
        Known { job: job.to_owned(), subject }
    }

    #[test]
    fn runs_of_one_name_and_seed_must_be_of_one_data_set() {
        let check = |all: Vec<Known>| check_apart(&["a"], &|role| if role == "a" { all.clone() } else { Vec::new() });
        let glue = known("x", "rte", "0", Some("glue"));
        assert!(check(vec![glue.clone(), known("y", "rte", "0", Some("glue"))]).is_ok());
        // Seeds may have data of their own.
        assert!(check(vec![glue.clone(), known("y", "rte", "1", Some("other"))]).is_ok());
        // Nobody knows yet what an imported prompt is of.
        assert!(check(vec![glue.clone(), known("y", "rte", "0", None)]).is_ok());
        let clash = known("y", "rte", "0", Some("superglue"));
        let Issue { field, message } = check(vec![glue.clone(), clash.clone()]).unwrap_err();
        assert_eq!(field, "a");
        assert!(message.starts_with("has two data sets called `rte`, behind `x` and `y`"), "{message}");
        let mut begun = known("z", "cb", "0", Some("cb"));
        begun.subject.source = Some(Box::new(clash.subject));
        assert!(check(vec![begun.clone()]).is_ok());
        assert!(check(vec![glue, begun]).is_err());
    }

    #[test]
    fn a_tuning_is_about_all_that_it_learns() {
        let data = vec![known("d", "mnli", "", Some("m")), known("e", "cb", "", Some("c"))];
        let subject = learned(data, "3".to_owned(), None).unwrap();
        assert_eq!(
            (&*subject.name, subject.run.as_deref(), subject.origin.as_deref()),
            ("cb+mnli", Some("3"), Some("c + m"))
        );
        assert_eq!(learned(Vec::new(), "3".to_owned(), None), None);
    }
}
