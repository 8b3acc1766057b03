//! What is wrong with a manifest, shown where it stands.

use super::node::Node;
use super::source::File;
use std::fmt;

/// A place in a YAML text; lines and columns from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the files of the manifest: 0 for itself, the others are those that it extends.
    pub file: usize,
    /// Line; 0 for values that do not come from a file (`--set`).
    pub line: usize,
    /// Column.
    pub column: usize,
    /// Number of characters to underline.
    pub width: usize,
}

/// Where something is written, and where it is used, if that is elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) used: Option<Place>,
}

impl Spot {
    /// The spot of a value.
    pub(super) fn of(node: &Node) -> Self {
        Self { place: node.place, used: node.used }
    }
}

/// One problem of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What was found, what was expected, what to do.
    pub message: String,
    /// Where the value is asked for that stands at the place.
    pub used: Option<Place>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), used: None }
    }

    /// A problem of a value, which may have come through a variable or from another stage.
    pub(super) fn of(node: &Node, message: impl Into<String>) -> Self {
        Self::at(Spot::of(node), message)
    }

    /// A problem of what is written at a spot.
    pub(super) fn at(Spot { place, used }: Spot, message: impl Into<String>) -> Self {
        Self { used, ..Self::new(place, message) }
    }

    /// Names the stage where no place in a file does.
    pub(super) fn in_stage(mut self, name: &str) -> Self {
        if self.place.line == 0 && self.used.is_none_or(|used| used.line == 0) {
            self.message = format!("stage `{name}`: {}", self.message);
        }
        self
    }
}

/// All problems of a manifest, with the lines they stand in.
#[derive(Debug)]
pub struct Problems {
    files: Vec<File>,
    found: Vec<Problem>,
}

/// Messages about one place: the jobs of a matrix tend to say the same with other values.
const MOST_AT_A_PLACE: usize = 3;
/// Problems that are shown.
const MOST_SHOWN: usize = 100;
/// Characters of a line of the manifest that are shown.
const LINE: usize = 160;
/// Characters of a value that are shown.
const VALUE: usize = 80;

impl Problems {
    /// The problems of a manifest of these files; sorted by place, each once.
    pub fn new(files: Vec<File>, mut found: Vec<Problem>) -> Self {
        found.sort();
        // A variable that many stages use is wrong once.
        found.dedup_by(|a, b| (a.place, &a.message) == (b.place, &b.message));
        let found = found.chunk_by(|a, b| a.place == b.place && a.place.line > 0).flat_map(few).collect();
        Self { files, found }
    }

    /// The problems by place.
    pub fn found(&self) -> &[Problem] {
        &self.found
    }

    /// Writes where something stands.
    fn locate(&self, f: &mut fmt::Formatter<'_>, place: Place) -> fmt::Result {
        match self.files.get(place.file) {
            Some(file) => write!(f, "{}:{}:{}", file.path.display(), place.line, place.column),
            None => write!(f, "{}:{}", place.line, place.column),
        }
    }

    /// Writes the line of a place with marks under it.
    fn quote(&self, f: &mut fmt::Formatter<'_>, place: Place) -> fmt::Result {
        let lines = self.files.get(place.file).map(|file| file.text.lines());
        match lines.and_then(|mut lines| lines.nth(place.line.checked_sub(1)?)) {
            Some(line) => underline(f, line, place),
            None => Ok(()),
        }
    }
}

/// The first problems of one place, the last of them with the number of the others.
fn few(problems: &[Problem]) -> Vec<Problem> {
    let mut kept = problems[..problems.len().min(MOST_AT_A_PLACE)].to_vec();
    let left = problems.len() - kept.len();
    if let Some(last) = kept.last_mut().filter(|_| left > 0) {
        last.message += &format!(" (and {left} more like this here)");
    }
    kept
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { place, message, used }) in self.found.iter().take(MOST_SHOWN).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            if place.line == 0 {
                f.write_str("--set")?;
            } else {
                self.locate(f, *place)?;
            }
            write!(f, ": {}", printable(message))?;
            self.quote(f, *place)?;
            if let Some(used) = used.filter(|used| used != place && used.line > 0) {
                f.write_str("\n used in ")?;
                self.locate(f, used)?;
                self.quote(f, used)?;
            }
        }
        match self.found.len().saturating_sub(MOST_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more problems"),
        }
    }
}

/// A line of the manifest with marks under a place; of a long line the part around it.
fn underline(f: &mut fmt::Formatter<'_>, line: &str, place: Place) -> fmt::Result {
    let column = place.column.saturating_sub(1);
    let whole = line.chars().nth(LINE).is_none();
    let skipped = if whole { 0 } else { column.saturating_sub(LINE / 2) };
    let shown: String = printable(line).chars().skip(skipped).take(LINE).collect();
    let rest = shown.chars().count().saturating_sub(column - skipped).max(1);
    let (indent, marks) = (" ".repeat(column - skipped), "^".repeat(place.width.clamp(1, rest)));
    let number = place.line.to_string();
    let gutter = " ".repeat(number.len());
    write!(f, "\n {number} | {}\n {gutter} | {indent}{marks}", shown.trim_end())
}

/// A text that cannot steer the terminal; it keeps its number of characters.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// The beginning of a long text.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The known name nearest to what was written, if one is near enough to be meant; of equally near ones the first.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time in the product of the lengths.
    if written.len() > VALUE {
        return None;
    }
    known
        .into_iter()
        .filter(|name| name.len() <= VALUE)
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| {
            let longer = name.chars().count().max(written.chars().count());
            *distance < longer && *distance <= longer.div_ceil(3)
        })
        .map(|(_, name)| name)
}

/// Known names that are listed.
const MOST_LISTED: usize = 12;

/// "; did you mean `x`?" where a near name is known, otherwise the known names.
pub fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(written, known.clone()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => match listed(known) {
            names if names.is_empty() => names,
            names => format!("; known: {names}"),
        },
    }
}

/// Names in backticks; of many the first.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<_> = names.by_ref().take(MOST_LISTED).map(|name| format!("`{}`", clipped(name))).collect();
    let more = names.count();
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, places: &[(usize, usize, usize)]) -> String {
        let problems = places.iter().enumerate();
        let problem = |(i, &(line, column, width)): (usize, &(usize, usize, usize))| {
            Problem::new(Place { file: 0, line, column, width }, format!("problem {i}"))
        };
        let file = File { path: "p.yaml".into(), text: text.to_owned() };
        Problems::new(vec![file], problems.map(problem).collect()).to_string()
    }

    #[test]
    fn a_problem_is_shown_where_it_stands() {
        assert_eq!(shown("a: 1\nb: xyz\n", &[(2, 4, 3)]), "p.yaml:2:4: problem 0\n 2 | b: xyz\n   |    ^^^");
    }

    #[test]
    fn marks_stay_within_the_line_and_places_outside_of_the_text_are_harmless() {
        assert_eq!(shown("ab", &[(1, 2, 99)]), "p.yaml:1:2: problem 0\n 1 | ab\n   |  ^");
        assert_eq!(shown("ab", &[(1, 9, 9)]), "p.yaml:1:9: problem 0\n 1 | ab\n   |         ^");
        assert_eq!(shown("ab", &[(7, 1, 1)]), "p.yaml:7:1: problem 0");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("\tx\u{1b}[31m", &[(1, 2, 1)]), "p.yaml:1:2: problem 0\n 1 |  x\u{fffd}[31m\n   |  ^");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let text = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        let shown = shown(&text, &[(1, 5001, 4)]);
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[2].find('^').unwrap();
        assert_eq!(&lines[1][at..at + 4], "HERE");
        assert!(lines[1].len() < 200, "{}", lines[1].len());
    }

    #[test]
    fn many_problems_at_one_place_are_counted() {
        let all = shown("a", &[(1, 1, 1); 10]);
        assert_eq!(all.matches("p.yaml:1:1").count(), 3);
        assert!(all.contains("problem 2 (and 7 more like this here)"), "{all}");
    }

    #[test]
    fn the_nearest_name_is_one_that_may_be_meant() {
        let known = ["steps", "batch_size", "seed"];
        assert_eq!(nearest("stpes", known), Some("steps"));
        assert_eq!(nearest("bach_size", known), Some("batch_size"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(suggestion("zzzzzz", known), "; known: `steps`, `batch_size`, `seed`");
        assert_eq!(suggestion("x", []), "");
    }
}
