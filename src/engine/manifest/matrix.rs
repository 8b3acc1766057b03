//! The matrix of a stage: a job for every combination of values.

use super::node::{Key, Node, Value};
use super::problem::{Problem, clipped, suggestion};
use super::reference::Pattern;
use super::variables::Scope;
use std::collections::HashMap;

/// Keys and values of a matrix, in the order of the manifest; no keys for a stage that is one job.
#[derive(Default)]
pub(super) struct Matrix {
    axes: Vec<Axis>,
}

/// A key of a matrix and its values.
struct Axis {
    key: String,
    values: Vec<Node>,
    /// The values as they print.
    texts: Vec<String>,
    /// Their places in the list.
    places: HashMap<String, usize>,
}

/// The jobs that a reference stands for, by their index in the stage.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) jobs: Vec<usize>,
    /// Whether it could be several, by the way it is written.
    pub(super) several: bool,
}

const MOST_KEYS: usize = 16;
/// Bytes of a value, which becomes part of the name of a folder.
const LONGEST_VALUE: usize = 100;
/// Characters that have a meaning in references and paths.
const RESERVED: [char; 8] = ['[', ']', '{', '}', ',', '*', '=', '/'];

impl Matrix {
    /// Reads `matrix:` of a stage; everything that is wrong with it goes to `found`.
    pub(super) fn read(node: &Node, scope: &Scope<'_>, found: &mut Vec<Problem>) -> Option<Self> {
        let before = found.len();
        let Value::Map(entries) = &node.value else {
            let message = format!("`matrix` is {}, expected keys with lists of values", node.describe());
            found.push(Problem::new(node.place, message));
            return None;
        };
        if entries.len() > MOST_KEYS {
            found.push(Problem::new(node.place, format!("a matrix of {} keys; {MOST_KEYS} at most", entries.len())));
            return None;
        }
        let axes: Vec<Axis> = entries.iter().filter_map(|(key, values)| axis(key, values, scope, found)).collect();
        (found.len() == before).then_some(Self { axes })
    }

    /// The keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.axes.iter().map(|axis| axis.key.as_str())
    }

    /// Number of jobs; `None` if it is beyond all bounds.
    pub(super) fn count(&self) -> Option<usize> {
        self.axes.iter().try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()))
    }

    /// Keys and values of a job; the first key is the outermost.
    pub(super) fn row(&self, job: usize) -> Vec<(&str, &Node)> {
        self.places(job).into_iter().zip(&self.axes).map(|(at, axis)| (axis.key.as_str(), &axis.values[at])).collect()
    }

    /// What stands behind the name of the stage in the name of a job: `[mnli,0]`.
    pub(super) fn suffix(&self, job: usize) -> String {
        if self.axes.is_empty() {
            return String::new();
        }
        let texts: Vec<&str> =
            self.places(job).into_iter().zip(&self.axes).map(|(at, axis)| axis.texts[at].as_str()).collect();
        format!("[{}]", texts.join(","))
    }

    /// The jobs that a reference to `stage` stands for.
    ///
    /// # Errors
    /// What is wrong with the values of the reference.
    pub(super) fn select(&self, stage: &str, pattern: Option<&Pattern<'_>>) -> Result<Selection, String> {
        let wanted = match pattern {
            None => vec!["*"; self.axes.len()],
            Some(pattern) => self.wanted(stage, pattern)?,
        };
        let mut jobs = vec![0];
        for (axis, wanted) in self.axes.iter().zip(&wanted) {
            let places = match *wanted {
                "*" => 0..axis.values.len(),
                value => {
                    let at = *axis.places.get(value).ok_or_else(|| axis.unknown(stage, value))?;
                    at..at + 1
                }
            };
            jobs = jobs.iter().flat_map(|job| places.clone().map(move |at| job * axis.values.len() + at)).collect();
        }
        Ok(Selection { jobs, several: wanted.contains(&"*") })
    }

    /// For each key the value that a pattern asks for.
    fn wanted<'p>(&self, stage: &str, pattern: &Pattern<'p>) -> Result<Vec<&'p str>, String> {
        if self.axes.is_empty() {
            return Err(format!("`{stage}` has no matrix; write `{stage}`"));
        }
        match pattern {
            Pattern::Places(values) if values.len() == self.axes.len() => Ok(values.clone()),
            Pattern::Places(values) if *values == ["*"] => Ok(vec!["*"; self.axes.len()]),
            Pattern::Places(values) => {
                let keys: Vec<&str> = self.keys().collect();
                let plural = if keys.len() == 1 { "" } else { "s" };
                let given =
                    if values.len() == 1 { "1 is given".to_owned() } else { format!("{} are given", values.len()) };
                Err(format!("`{stage}` takes {} value{plural} ({}), but {given}", keys.len(), keys.join(", ")))
            }
            Pattern::Named(named) => {
                for (i, (key, _)) in named.iter().enumerate() {
                    if !self.keys().any(|known| known == *key) {
                        let hint = suggestion(key, self.keys());
                        return Err(format!("the matrix of `{stage}` has no key `{}`{hint}", clipped(key)));
                    }
                    if named[..i].iter().any(|(before, _)| before == key) {
                        return Err(format!("`{key}` is given twice"));
                    }
                }
                let value = |key| named.iter().find(|(name, _)| *name == key).map_or("*", |(_, value)| *value);
                Ok(self.keys().map(value).collect())
            }
        }
    }

    /// For each key the place of the value of a job.
    fn places(&self, mut job: usize) -> Vec<usize> {
        let mut places: Vec<usize> = Vec::with_capacity(self.axes.len());
        for axis in self.axes.iter().rev() {
            places.push(job % axis.values.len());
            job /= axis.values.len();
        }
        places.reverse();
        places
    }
}

impl Axis {
    fn unknown(&self, stage: &str, value: &str) -> String {
        let hint = suggestion(value, self.texts.iter().map(String::as_str));
        format!("`{stage}` has no job with `{}` `{}`{hint}", self.key, clipped(value))
    }
}

fn axis(key: &Key, values: &Node, scope: &Scope<'_>, found: &mut Vec<Problem>) -> Option<Axis> {
    if key.text.is_empty() || !key.text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) {
        let message =
            format!("`{}` cannot be a key of a matrix; expected letters, digits, `-` and `_`", clipped(&key.text));
        found.push(Problem::new(key.place, message));
        return None;
    }
    let expanded = scope.expand(values).map_err(|problem| found.push(problem)).ok()?;
    let (place, used) = (expanded.place, expanded.used);
    let wrong = |message| Problem { place, message, used };
    let items = match expanded.value {
        Value::List(items) if !items.is_empty() => items,
        Value::List(_) => {
            found.push(wrong(format!("matrix key `{}` has no values", key.text)));
            return None;
        }
        _ => {
            let message = format!("matrix key `{}` is {}, expected a list of values", key.text, expanded.describe());
            found.push(wrong(message));
            return None;
        }
    };
    let mut axis = Axis { key: key.text.clone(), values: Vec::new(), texts: Vec::new(), places: HashMap::new() };
    let before = found.len();
    for item in items {
        let text = match text(&item) {
            Ok(text) => text,
            Err(why) => {
                found.push(Problem::new(item.place, format!("matrix key `{}`: {why}", key.text)));
                continue;
            }
        };
        if axis.places.insert(text.clone(), axis.values.len()).is_some() {
            let message =
                format!("matrix key `{}` has the value `{text}` twice; two jobs would have one name", key.text);
            found.push(Problem::new(item.place, message));
        }
        axis.values.push(item);
        axis.texts.push(text);
    }
    (found.len() == before).then_some(axis)
}

/// A value as it prints in the name of a job.
fn text(item: &Node) -> Result<String, String> {
    let expected = "expected a word or a number";
    let text = match &item.value {
        Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => item.scalar().unwrap_or_default(),
        _ => return Err(format!("{} among the values, {expected}", item.describe())),
    };
    if text.is_empty() || text.trim() != text {
        return Err(format!("`{}` among the values, {expected}", clipped(&text)));
    }
    if text.len() > LONGEST_VALUE {
        return Err(format!("`{}` among the values is longer than {LONGEST_VALUE} bytes", clipped(&text)));
    }
    match text.chars().find(|c| c.is_control() || RESERVED.contains(c)) {
        Some(c) => {
            Err(format!("`{text}` among the values; {c:?} has a meaning in references, and cannot be in a name"))
        }
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manifest::node::parse;
    use crate::engine::manifest::problem::Place;
    use crate::engine::manifest::reference;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Result<Matrix, Vec<String>> {
        let vars = Node::new(Value::Map(Vec::new()), Place::default());
        let (environment, budget) = (BTreeMap::new(), Cell::new(1000));
        let scope = Scope { vars: &vars, environment: &environment, matrix: &[], budget: &budget };
        let mut found = Vec::new();
        let matrix = Matrix::read(&parse(text).unwrap(), &scope, &mut found);
        matrix.ok_or(found.into_iter().map(|problem| problem.message).collect())
    }

    fn select(text: &str) -> Result<(Vec<String>, bool), String> {
        let matrix = read("task: [mnli, rte]\nseed: [0, 1, 2]\n").unwrap();
        let selection = matrix.select("s", reference::parse(text).unwrap().pattern.as_ref())?;
        Ok((selection.jobs.into_iter().map(|job| matrix.suffix(job)).collect(), selection.several))
    }

    #[test]
    fn the_first_key_is_the_outermost() {
        let matrix = read("task: [mnli, rte]\nseed: [0, 1]\n").unwrap();
        let names: Vec<String> = (0..matrix.count().unwrap()).map(|job| matrix.suffix(job)).collect();
        assert_eq!(names, ["[mnli,0]", "[mnli,1]", "[rte,0]", "[rte,1]"]);
        let row: Vec<_> = matrix.row(2).into_iter().map(|(key, node)| (key, node.value.clone())).collect();
        assert_eq!(row, [("task", Value::Text("rte".to_owned())), ("seed", Value::Int(0))]);
    }

    #[test]
    fn a_reference_selects_jobs() {
        let check = |text: &str, jobs: &[&str], several: bool| {
            assert_eq!(select(text).unwrap(), (jobs.iter().map(|job| (*job).to_owned()).collect(), several), "{text}");
        };
        let all = ["[mnli,0]", "[mnli,1]", "[mnli,2]", "[rte,0]", "[rte,1]", "[rte,2]"];
        check("s", &all, true);
        check("s[*]", &all, true);
        check("s[*,*]", &all, true);
        check("s[mnli,1]", &["[mnli,1]"], false);
        check("s[*,0]", &["[mnli,0]", "[rte,0]"], true);
        check("s[rte,*]", &["[rte,0]", "[rte,1]", "[rte,2]"], true);
        check("s[seed=2]", &["[mnli,2]", "[rte,2]"], true);
        check("s[seed=2,task=rte]", &["[rte,2]"], false);
        check("s[task=rte,seed=*]", &["[rte,0]", "[rte,1]", "[rte,2]"], true);
    }

    #[test]
    fn a_reference_that_fits_no_job_says_which_there_are() {
        let check = |text: &str, expected: &str| assert_eq!(select(text).unwrap_err(), expected);
        check("s[mnil,0]", "`s` has no job with `task` `mnil`; did you mean `mnli`?");
        check("s[mnli,7]", "`s` has no job with `seed` `7`; known: `0`, `1`, `2`");
        check("s[mnli]", "`s` takes 2 values (task, seed), but 1 is given");
        check("s[a,b,c]", "`s` takes 2 values (task, seed), but 3 are given");
        check("s[sead=0]", "the matrix of `s` has no key `sead`; did you mean `seed`?");
        check("s[seed=0,seed=1]", "`seed` is given twice");
        let none = Matrix::default().select("s", reference::parse("s[*]").unwrap().pattern.as_ref());
        assert_eq!(none.unwrap_err(), "`s` has no matrix; write `s`");
    }

    #[test]
    fn values_are_words_and_numbers_each_once() {
        let check = |text: &str, expected: &str| assert_eq!(read(text).err().unwrap(), [expected]);
        check("[a]", "`matrix` is a list, expected keys with lists of values");
        check("a: 3", "matrix key `a` is the number 3, expected a list of values");
        check("a: []", "matrix key `a` has no values");
        check("a: [x, 1, x]", "matrix key `a` has the value `x` twice; two jobs would have one name");
        check("a: [1, '1']", "matrix key `a` has the value `1` twice; two jobs would have one name");
        check("a: [x, {y: 1}]", "matrix key `a`: a mapping among the values, expected a word or a number");
        check("a: [x, ~]", "matrix key `a`: nothing among the values, expected a word or a number");
        check("a: ['']", "matrix key `a`: `` among the values, expected a word or a number");
        check(
            "a: [x/y]",
            "matrix key `a`: `x/y` among the values; '/' has a meaning in references, and cannot be in a name",
        );
        check("a b: [1]", "`a b` cannot be a key of a matrix; expected letters, digits, `-` and `_`");
        assert_eq!(read("a: [0.1, 1e-5, true, a b]").unwrap().suffix(1), "[0.00001]");
    }
}
