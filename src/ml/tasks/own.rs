//! Tasks of a user's own: rows of a table become examples by a template, and a column holds the answers.

use super::cell::Cell;
use super::choices::{Choices, Named};
use super::condition::Condition;
use super::draft::{Drafts, Known};
use super::error::{listed, shortened};
use super::format::Read;
use super::labels::Labels;
use super::several;
use super::sheet::{Place, Sheet, SheetError, Wanted};
use super::spacing::Spacing;
use super::template::Template;
use super::value::{Decimal, Value};
use super::{Answer, Metric, Split, Task};
use crate::ml::metrics::Needs;
use std::collections::HashMap;

/// How the rows of a table make up a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// Name of the task.
    pub name: String,
    /// What stands in front of inputs that have a prefix, if not the name; nothing if it is empty.
    pub word: Option<String>,
    /// How an input is put together.
    pub template: Template,
    /// The column with the answer.
    pub label: String,
    /// The words of the answers, if they are labels.
    pub labels: Option<Labels>,
    /// Whether a row has a list of labels, whose words together are its answer.
    pub several: bool,
    /// What answers are, if they are not labels: [`Answer::Text`], [`Answer::Number`] or [`Answer::Choice`].
    pub answer: Answer,
    /// Where rows have the choices among which an answer is.
    pub choices: Option<Choices>,
    /// Its metrics.
    pub metrics: Vec<Metric>,
    /// The column that says which examples belong together.
    pub group: Option<String>,
    /// The column that identifies rows.
    pub id: Option<String>,
    /// Rows that are left out.
    pub drop: Vec<Condition>,
    /// What answers that are numbers are rounded to multiples of.
    pub round: Option<Decimal>,
}

/// A mistake in the definition of a task: the field, and what is wrong with it.
pub type Mistake = (&'static str, String);

impl Own {
    /// The metrics of a task that names none.
    pub fn usual_metrics(answer: Answer) -> Vec<Metric> {
        let answers = answer.measured();
        answer.metrics().into_iter().filter(|metric| metric.is_usual(answers)).collect()
    }

    /// Looks for contradictions.
    ///
    /// # Errors
    /// The field with the first contradiction, and what it is.
    pub fn check(&self) -> Result<(), Mistake> {
        check_name(&self.name).map_err(|message| ("name", message))?;
        if let Some(word) =
            self.word.as_deref().filter(|word| word.trim() != *word || word.chars().any(char::is_control))
        {
            let shown = shortened(word);
            return Err((
                "word",
                format!(
                    "is `{}`, expected a word without white space around it, or \"\" for none",
                    shown.escape_debug()
                ),
            ));
        }
        if self.template.spacing() == Spacing::Punctuation && self.answer != Answer::Text {
            return Err(("spaced_punctuation", "is for answers that are free text, and these are not".to_owned()));
        }
        if self.template.columns().contains(&self.label.as_str()) {
            let label = shortened(&self.label);
            return Err((
                "template",
                format!("has `{{{label}}}`, the column with the answer; the input must not hold it"),
            ));
        }
        if let Some(labels) = &self.labels {
            labels.check().map_err(|message| ("labels", message))?;
        }
        match &self.labels {
            Some(labels) if self.several => several::check(labels).map_err(|message| ("labels", message))?,
            None if self.several => {
                return Err(("several", "is of labels, but there are no `labels`".to_owned()));
            }
            _ => {}
        }
        if let Some(choices) = &self.choices {
            choices.check(&self.label).map_err(|message| ("choices", message))?;
        }
        if let Some(step) = &self.round {
            if self.answer != Answer::Number {
                return Err(("round", "is of numbers, but answers are not: `answer: number`".to_owned()));
            }
            if !step.is_positive() {
                return Err(("round", format!("is {step}, expected more than 0: answers become multiples of it")));
            }
        }
        self.check_metrics()
    }

    fn check_metrics(&self) -> Result<(), Mistake> {
        let wrong = |message: String| Err(("metrics", message));
        let kind = match self.answer {
            Answer::Label | Answer::Referent => "labels",
            Answer::Choice => "choices",
            Answer::Number => "numbers",
            Answer::Text => "free text",
        };
        if self.metrics.is_empty() {
            return wrong("is empty; expected at least one, or leave it out".to_owned());
        }
        for (at, metric) in self.metrics.iter().enumerate() {
            let name = metric.name();
            if self.metrics[..at].contains(metric) {
                return wrong(format!("has `{name}` twice"));
            }
            if !self.answer.metrics().contains(metric) {
                let known = listed(self.answer.metrics().iter().map(|metric| metric.name()));
                return wrong(format!(
                    "has `{name}`, which does not fit answers that are {kind}; those that fit: {known}"
                ));
            }
        }
        self.metrics.iter().try_for_each(|metric| self.check_needs(*metric))
    }

    fn check_needs(&self, metric: Metric) -> Result<(), Mistake> {
        let name = metric.name();
        let words = self.labels.as_ref().map_or(0, |labels| labels.words().len());
        let message = match metric.needs() {
            Needs::TwoLabels if words != 2 => {
                let instead = Metric::MacroF1.name();
                format!("has `{name}`, which is of two labels, but there are {words}; use `{instead}`")
            }
            Needs::Groups if self.group.is_none() => {
                format!("has `{name}`, which needs `group`, the column that says what belongs together")
            }
            Needs::Source if self.template.around().is_none() => {
                format!(
                    "has `{name}`, which compares answers with the text that was to be rewritten, so that `template` must have one column"
                )
            }
            Needs::Nothing | Needs::TwoLabels | Needs::Groups | Needs::Source => return Ok(()),
        };
        Err(("metrics", message))
    }

    /// The task as data sets describe it, whose inputs may have a word in front.
    pub fn task(&self, prefix: bool) -> Task {
        // Several labels together are a text.
        let labels = self.labels.as_ref().filter(|_| !self.several);
        let words = labels.map_or_else(Vec::new, |labels| labels.words());
        Task {
            name: self.name.clone(),
            format: None,
            labels: words.into_iter().map(str::to_owned).collect(),
            answer: self.answer,
            metrics: self.metrics.clone(),
            around: self.around(prefix),
            spacing: self.template.spacing(),
        }
    }

    /// What stands around the text in an input, if a metric asks for the text.
    fn around(&self, prefix: bool) -> Option<(String, String)> {
        self.metrics.iter().find(|metric| metric.needs() == Needs::Source)?;
        let (before, after) = self.template.around()?;
        let before = if prefix { behind(self.word(), before) } else { before.to_owned() };
        Some((before, after.to_owned()))
    }

    /// The columns that are read, in the order in which [`examples`](Self::examples) expects them. Test splits may lack the
    /// answer.
    pub fn wanted(&self, split: Split) -> Vec<Wanted<'_>> {
        let required = |name| Wanted::required(name);
        let mut wanted = vec![Wanted { required: split != Split::Test, values: self.several, ..required(&self.label) }];
        wanted.extend(self.template.columns().into_iter().map(required));
        wanted.extend([&self.group, &self.id].into_iter().flatten().map(|name| required(name)));
        wanted.extend(self.choice_columns().iter().map(|name| required(name)));
        // An answer that a test split hides cannot be a reason to leave a row out.
        let is_hidden = |name: &str| name == self.label && split == Split::Test;
        wanted
            .extend(self.drop.iter().map(|drop| Wanted { required: !is_hidden(&drop.field), ..required(&drop.field) }));
        wanted
    }

    /// The examples of a split, and how many rows each condition left out. `prefix` puts the task's name in front of inputs. A row
    /// without an id is called by its number among all.
    ///
    /// # Errors
    /// The first row with an answer that is not one of the task's, an empty group, or an id that is there twice.
    pub fn examples(&self, sheet: Sheet, split: Split, prefix: bool) -> Result<Read, SheetError> {
        let mut rows = Drafts::new(self, split, prefix);
        let drafts = rows.of(sheet)?;
        let (answers, left_out) = rows.finish()?;
        let mut ids: HashMap<String, Place> = HashMap::new();
        let mut examples = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let place = draft.place;
            let example = answers.example(draft)?;
            if let (true, Some(first)) = (self.id.is_some(), ids.get(&example.id)) {
                return Err(self.repeated(place, &example.id, *first));
            }
            if self.id.is_some() {
                ids.insert(example.id.clone(), place);
            }
            examples.push(example);
        }
        Ok(Read { examples, left_out })
    }

    /// What stands in front of inputs that have a prefix.
    pub(super) fn word(&self) -> &str {
        self.word.as_deref().unwrap_or(&self.name)
    }

    /// The columns of choices.
    fn choice_columns(&self) -> &[String] {
        self.choices.as_ref().map_or(&[], |choices| &choices.from)
    }

    /// Whether a cell has no answer: there is nothing, or something that programs write for nothing. What is a label is none of
    /// that, and -1 may be a number or a text like any other.
    pub(super) fn hides(&self, cell: &Cell) -> bool {
        match (&self.labels, self.answer) {
            _ if self.several => several::hides(cell),
            (Some(labels), _) => cell.is_blank() || (cell.says_nothing() || cell.is_minus_one()) && !labels.has(cell),
            (None, Answer::Number) => cell.is_blank() || cell.says_nothing(),
            (None, Answer::Choice) => {
                cell.is_blank() || self.counts_choices() && (cell.says_nothing() || cell.is_minus_one())
            }
            (None, _) => cell.is_blank(),
        }
    }

    /// Whether a cell has no answer if none of its column has one. A test split that holds nothing but -1 is one of Hugging
    /// Face's, and hides its answers.
    pub(super) fn may_hide(&self, cell: &Cell) -> bool {
        if self.several {
            return several::hides(cell);
        }
        let is_label = || self.labels.as_ref().is_some_and(|labels| labels.has(cell));
        cell.is_blank() || (cell.says_nothing() || cell.is_minus_one()) && !is_label()
    }

    pub(super) fn hidden(&self, place: Place, cell: &Cell) -> SheetError {
        let name = shortened(&self.label);
        let found = if cell.is_blank() { "empty".to_owned() } else { cell.to_string() };
        let label = if self.labels.is_some() && !cell.is_blank() { ", or name it in `labels`" } else { "" };
        place.wrong(format!(
            "`{name}` is {found}, expected an answer; only a test split may hide it; leave the row out{label}"
        ))
    }

    /// Whether answers count choices, so that -1 and `NA` are none.
    fn counts_choices(&self) -> bool {
        self.choices.as_ref().is_some_and(|choices| choices.named != Named::Text)
    }

    pub(super) fn choice(&self, place: Place, cell: &Cell, among: &[String]) -> Result<Known, SheetError> {
        let right = self.choices.as_ref().map_or(Ok(0), |choices| choices.right(cell, among, &self.label, place))?;
        Ok((among[right].clone(), Some(right as u32), Vec::new()))
    }

    pub(super) fn number(&self, place: Place, cell: &Cell) -> Result<Known, SheetError> {
        match cell.value() {
            Some(Value::Number(number)) => {
                let text = match &self.round {
                    Some(step) => number.rounded(step).ok_or_else(|| {
                        place.wrong(format!(
                            "`{}` is {cell}, which has too many digits to be rounded",
                            shortened(&self.label)
                        ))
                    })?,
                    None => number.to_string(),
                };
                Ok((text, None, Vec::new()))
            }
            _ => Err(place.wrong(format!("`{}` is {cell}, expected a number", shortened(&self.label)))),
        }
    }

    pub(super) fn text(&self, place: Place, cell: &Cell) -> Result<Known, SheetError> {
        let name = shortened(&self.label);
        if cell.says_nothing() {
            return Err(place.wrong(format!(
                "`{name}` is {cell}, which can be read in two ways: as that text, or as no answer; leave the row out, or write the text \
                 as a list of one, in JSON lines or Parquet"
            )));
        }
        let answers = match cell {
            Cell::List(_) => cell.texts().unwrap_or_default(),
            Cell::Bool(value) => {
                return Err(place.wrong(format!(
                    "`{name}` is {value}, a truth value, expected a text; say what it stands for: `labels: {{true: …, false: …}}`"
                )));
            }
            cell => vec![plain(&self.label, (*cell).clone(), place)?],
        };
        if answers.iter().any(|answer| answer.trim().is_empty()) {
            return Err(place.wrong(format!("`{name}` has an empty text among its answers; leave it out")));
        }
        let answers: Vec<String> =
            answers.iter().map(|answer| self.template.spacing().of_column(answer).into_owned()).collect();
        Ok((answers[0].clone(), None, answers))
    }
}

/// An input or template behind the word in front of it.
pub fn behind(word: &str, text: &str) -> String {
    if word.is_empty() { text.to_owned() } else { format!("{word} {text}") }
}

/// Checks the name of a task.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(format!("is `{}`, expected a word or two", shortened(name).escape_debug()));
    }
    Ok(())
}

/// A cell as a text; a missing one is empty.
pub(super) fn plain(name: &str, cell: Cell, place: Place) -> Result<String, SheetError> {
    match cell {
        Cell::List(_) | Cell::Object(_) | Cell::Other(_) => {
            Err(place.wrong(format!("`{}` is {cell}, expected a text or a number", shortened(name))))
        }
        cell => Ok(cell.plain().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks::{Dialect, Example, HIDDEN};

    fn own() -> Own {
        Own {
            name: "mood".to_owned(),
            word: None,
            template: Template::parse("title: {title} review: {text}").unwrap(),
            label: "label".to_owned(),
            labels: Some(Labels::Words(vec!["bad".to_owned(), "good".to_owned()])),
            several: false,
            answer: Answer::Label,
            metrics: vec![Metric::Accuracy],
            group: None,
            id: None,
            drop: Vec::new(),
            round: None,
            choices: None,
        }
    }

    fn read(own: &Own, split: Split, text: &str) -> Result<Vec<Example>, SheetError> {
        let sheet = Sheet::from_csv(text.as_bytes(), Dialect::default(), &own.wanted(split))?;
        Ok(own.examples(sheet, split, true)?.examples)
    }

    fn labels(own: &Own, values: &[&str]) -> Result<Vec<u32>, SheetError> {
        let rows: String = values.iter().map(|value| format!("t,x,{value}\n")).collect();
        let examples = read(own, Split::Train, &format!("title,text,label\n{rows}"))?;
        Ok(examples.into_iter().map(|example| example.label.unwrap()).collect())
    }

    #[test]
    fn rows_become_examples() {
        let examples =
            read(&own(), Split::Train, "text,title,label,more\nfine,A {title},good,1\n,B, bad ,2\n").unwrap();
        let found: Vec<_> = examples.iter().map(|e| (&*e.id, &*e.input, &*e.target, e.label)).collect();
        assert_eq!(
            found,
            [
                ("0", "mood title: A {title} review: fine", "good", Some(1)),
                ("1", "mood title: B review: ", "bad", Some(0))
            ]
        );
        assert_eq!(own().task(true).labels, ["bad", "good"]);
    }

    #[test]
    fn labels_are_words_or_places_or_mapped_values() {
        assert_eq!(labels(&own(), &["bad", " good"]).unwrap(), [0, 1]);
        assert_eq!(labels(&own(), &["0.0", "1"]).unwrap(), [0, 1]);
        let stars = |pairs: &[(&str, &str)]| {
            let values = pairs.iter().map(|(value, word)| ((*value).to_owned(), (*word).to_owned())).collect();
            Own { labels: Some(Labels::Values(values)), ..own() }
        };
        let stars = stars(&[("1", "bad"), ("2", "bad"), ("3", "good"), ("True", "good")]);
        stars.check().unwrap();
        assert_eq!(labels(&stars, &["2", "3", "1.0", "True"]).unwrap(), [0, 1, 0, 1]);
        assert_eq!(
            labels(&stars, &["good"]).unwrap_err().to_string(),
            "line 2: `label` is `good`, which is not a label; labels are `1`, `2`, `3`, `True`"
        );
    }

    #[test]
    fn numbers_that_are_words_are_not_places() {
        let words = ["1", "2", "3"].map(str::to_owned).to_vec();
        let stars = Own { labels: Some(Labels::Words(words)), ..own() };
        assert_eq!(labels(&stars, &["1", "3"]).unwrap(), [0, 2]);
        assert_eq!(
            labels(&stars, &["1", "0"]).unwrap_err().to_string(),
            "line 3: `label` is `0`, which is not a label; labels are `1`, `2`, `3`, by value, since words are numbers; its place would \
             be `1`"
        );
    }

    #[test]
    fn a_label_outside_the_set_is_refused_with_the_nearest() {
        assert_eq!(
            labels(&own(), &["good", "goood"]).unwrap_err().to_string(),
            "line 3: `label` is `goood`, which is not a label (did you mean `good`?); labels are 0 `bad`, 1 `good`"
        );
        for value in ["2", "-1", "Good"] {
            assert!(labels(&own(), &[value]).is_err(), "{value}");
        }
    }

    fn json(own: &Own, split: Split, answers: &[&str]) -> Result<Vec<Example>, SheetError> {
        let rows: String = answers
            .iter()
            .map(|answer| {
                format!(
                    "{{\"title\": \"t\", \"text\": \"x\"{}{answer}}}\n",
                    if answer.is_empty() { "" } else { ", \"label\": " }
                )
            })
            .collect();
        Ok(own.examples(Sheet::from_json(rows.as_bytes(), &own.wanted(split))?, split, false)?.examples)
    }

    #[test]
    fn a_truth_value_is_no_place() {
        let error = json(&own(), Split::Train, &["true"]).unwrap_err().to_string();
        assert!(error.starts_with("line 1: `label` is true, which is not one of the words of `labels`"), "{error}");
        let truths = Own { labels: Some(Labels::Words(["True", "False"].map(str::to_owned).to_vec())), ..own() };
        assert_eq!(
            json(&truths, Split::Train, &["true", "false", "\"True\""])
                .unwrap()
                .iter()
                .map(|e| &*e.target)
                .collect::<Vec<_>>(),
            ["True", "False", "True"]
        );
    }

    #[test]
    fn only_test_splits_may_hide_answers() {
        for text in ["title,text\nA,b\n", "title,text,label\nA,b,\n"] {
            let hidden = read(&own(), Split::Test, text).unwrap();
            assert_eq!((hidden[0].target.as_str(), hidden[0].label), (HIDDEN, None));
        }
        assert_eq!(
            read(&own(), Split::Validation, "title,text,label\nA,b,\n").unwrap_err().to_string(),
            "line 2: `label` is empty, expected an answer; only a test split may hide it; leave the row out"
        );
        assert_eq!(
            read(&own(), Split::Train, "title,text,label\nA,b,good\nA,b,-1\n").unwrap_err().to_string(),
            "line 3: `label` is `-1`, expected an answer; only a test split may hide it; leave the row out, or name it in `labels`"
        );
        assert_eq!(
            read(&own(), Split::Train, "title,text,lable\nA,b,\n").unwrap_err().to_string(),
            "line 1: no column `label` (did you mean `lable`?); found `title`, `text`, `lable`"
        );
    }

    /// Everything by which a cell can say that there is no answer, in JSON.
    const HIDING: [&str; 10] = ["", "null", "\"\"", "\" \"", "[]", "-1", "-1.0", "\"-1\"", "\"NA\"", "\"NaN\""];

    #[test]
    fn a_test_split_hides_its_answers_in_any_way() {
        let number = Own { labels: None, answer: Answer::Number, metrics: vec![Metric::Pearson], ..own() };
        let text = Own { labels: None, answer: Answer::Text, metrics: vec![Metric::Rouge1], ..own() };
        for own in [own(), number, text] {
            for hiding in HIDING {
                let hidden = json(&own, Split::Test, &[hiding, "null", hiding]).unwrap();
                assert!(
                    hidden.iter().all(|e| e.target == HIDDEN && e.label.is_none() && e.answers.is_empty()),
                    "{hiding}"
                );
                assert!(hidden.iter().all(|example| !own.task(true).knows(example)), "{hiding}");
            }
        }
    }

    #[test]
    fn a_test_split_may_hide_some_of_its_answers() {
        for hiding in HIDING {
            let examples = json(&own(), Split::Test, &["\"good\"", hiding, "\"bad\""]).unwrap();
            assert_eq!(examples.iter().map(|e| e.label).collect::<Vec<_>>(), [Some(1), None, Some(0)], "{hiding}");
            assert!(json(&own(), Split::Train, &["\"good\"", hiding]).is_err(), "{hiding}");
            assert!(json(&own(), Split::Validation, &[hiding, hiding]).is_err(), "{hiding}");
        }
        // Beside other numbers and texts, -1 is one of them.
        let number = Own { labels: None, answer: Answer::Number, metrics: vec![Metric::Pearson], ..own() };
        let targets = json(&number, Split::Test, &["-1", "null", "2.5"]).unwrap();
        assert_eq!(targets.iter().map(|e| &*e.target).collect::<Vec<_>>(), ["-1", HIDDEN, "2.5"]);
    }

    #[test]
    fn what_is_a_label_hides_nothing() {
        let values = [("-1", "bad"), ("NA", "good")].map(|(value, word)| (value.to_owned(), word.to_owned())).to_vec();
        let own = Own { labels: Some(Labels::Values(values)), ..own() };
        for split in Split::ALL {
            let examples = json(&own, split, &["-1", "\"NA\"", "\"-1.0\""]).unwrap();
            assert_eq!(examples.iter().map(|e| &*e.target).collect::<Vec<_>>(), ["bad", "good", "bad"]);
        }
        let number = Own { labels: None, answer: Answer::Number, metrics: vec![Metric::Pearson], ..own };
        for split in Split::ALL {
            assert_eq!(json(&number, split, &["-1", "2.50"]).unwrap()[0].target, "-1");
        }
    }

    #[test]
    fn a_text_that_may_stand_for_nothing_is_refused_unless_it_is_a_list() {
        let text = Own { labels: None, answer: Answer::Text, metrics: vec![Metric::Rouge1], ..own() };
        let error = json(&text, Split::Train, &["\"fine\"", "\"None\""]).unwrap_err().to_string();
        assert!(
            error
                .starts_with("line 2: `label` is `None`, which can be read in two ways: as that text, or as no answer"),
            "{error}"
        );
        assert_eq!(json(&text, Split::Train, &["[\"None\"]", "-1"]).unwrap()[0].target, "None");
        let error = json(&text, Split::Train, &["true"]).unwrap_err().to_string();
        assert!(error.starts_with("line 1: `label` is true, a truth value, expected a text"), "{error}");
        let error = json(&text, Split::Train, &["[\"a\", \" \"]"]).unwrap_err().to_string();
        assert_eq!(error, "line 1: `label` has an empty text among its answers; leave it out");
    }

    #[test]
    fn rows_are_dropped_and_counted() {
        let drop = ["label == \"-\"", "votes < 3", "text == null"].map(|text| Condition::parse(text).unwrap());
        let own = Own { drop: drop.to_vec(), ..own() };
        let rows = "title,text,label,votes\nA,x,-,1\nB,y,bad,5\nC,z,good,2\nD,,good,4\n";
        let sheet = Sheet::from_csv(rows.as_bytes(), Dialect::default(), &own.wanted(Split::Train)).unwrap();
        let Read { examples, left_out } = own.examples(sheet, Split::Train, false).unwrap();
        assert_eq!(examples.iter().map(|example| (&*example.id, &*example.target)).collect::<Vec<_>>(), [("1", "bad")]);
        let left: Vec<_> = left_out.iter().map(|left| (left.rows, &*left.why)).collect();
        assert_eq!(
            left,
            [(1, "`drop` has `label == \"-\"`"), (1, "`drop` has `votes < 3`"), (1, "`drop` has `text == null`")]
        );
        let all = Own { drop: vec![Condition::parse("text != \"q\"").unwrap()], ..own };
        let error = read(&all, Split::Train, "title,text,label\nA,x,bad\n").unwrap_err().to_string();
        assert_eq!(error, "line 2: no row is left; `drop` leaves all of them out");
    }

    #[test]
    fn white_space_in_inputs_is_one_space_if_that_is_asked_for() {
        let single = Own { template: own().template.spaced(Spacing::Single), ..own() };
        single.check().unwrap();
        let line = r#"{"title": " A  film,\u00a0old ", "text": "so\n\n\tso ", "label": "good"}"#;
        let input = |own: &Own| {
            let sheet = Sheet::from_json(line.as_bytes(), &own.wanted(Split::Train)).unwrap();
            own.examples(sheet, Split::Train, true).unwrap().examples[0].input.clone()
        };
        assert_eq!(input(&single), "mood title: A film,\u{a0}old review: so so ");
        assert_eq!(input(&own()), "mood title:  A  film,\u{a0}old  review: so\n\n\tso ");
        assert_eq!(single.task(true).spacing, Spacing::Single);
        let padded = Own { template: own().template.spaced(Spacing::Punctuation), ..own() };
        assert_eq!(padded.check().unwrap_err().0, "spaced_punctuation");
    }

    #[test]
    fn numbers_are_rounded_if_that_is_asked_for() {
        let number = Own {
            labels: None,
            answer: Answer::Number,
            metrics: vec![Metric::Pearson],
            round: Decimal::parse("0.2"),
            ..own()
        };
        number.check().unwrap();
        let targets = json(&number, Split::Train, &["2.5", "\"3\"", "0.31"]).unwrap();
        assert_eq!(targets.iter().map(|e| &*e.target).collect::<Vec<_>>(), ["2.4", "3.0", "0.4"]);
        assert!(Own { round: Decimal::parse("0"), ..number.clone() }.check().is_err());
        assert_eq!(Own { round: Decimal::parse("1"), ..own() }.check().unwrap_err().0, "round");
    }

    #[test]
    fn rows_bring_their_choices() {
        let own = Own {
            labels: None,
            answer: Answer::Choice,
            choices: Some(Choices { from: vec!["o".to_owned()], named: Named::Letter('A') }),
            template: Template::parse("{title} {o|join(\" or \")}").unwrap(),
            ..own()
        };
        own.check().unwrap();
        let read = |split: Split, rows: &str| {
            let sheet = Sheet::from_json(rows.as_bytes(), &own.wanted(split))?;
            Ok::<_, SheetError>(own.examples(sheet, split, false)?.examples)
        };
        let rows = r#"{"title": "t", "o": ["x", "y"], "label": "B"}
{"title": "u", "o": ["x", "y", "z"], "label": "C"}"#;
        let examples = read(Split::Train, rows).unwrap();
        assert_eq!(
            examples.iter().map(|e| (&*e.input, &*e.target, e.label)).collect::<Vec<_>>(),
            [("t x or y", "y", Some(1)), ("u x or y or z", "z", Some(2))]
        );
        let scores = own.task(true).score(&["y".to_owned(), "w".to_owned()], &examples);
        assert_eq!((scores.metrics, scores.illegal), (vec![(Metric::Accuracy, 50.0)], 1));
        let hidden = read(Split::Test, r#"{"title": "t", "o": ["x", "y"], "label": -1}"#).unwrap();
        assert!(!own.task(true).knows(&hidden[0]) && hidden[0].choices.len() == 2);
        let error = read(Split::Train, r#"{"title": "t", "o": ["x", "y"], "label": "C"}"#).unwrap_err().to_string();
        assert_eq!(error, "line 1: `label` is `C`, expected `A` to `B`");
    }

    #[test]
    fn free_text_may_have_several_answers() {
        let text = Own { labels: None, answer: Answer::Text, metrics: vec![Metric::Rouge1], ..own() };
        text.check().unwrap();
        let lines = "{\"title\": null, \"text\": 1.5, \"label\": [\"a\", \"b c\"]}\n{\"title\": \"\", \"text\": \"\", \"label\": 7}\n";
        let sheet = Sheet::from_json(lines.as_bytes(), &text.wanted(Split::Train)).unwrap();
        let examples = text.examples(sheet, Split::Train, false).unwrap().examples;
        assert_eq!((examples[0].input.as_str(), examples[0].target.as_str()), ("title:  review: 1.5", "a"));
        assert_eq!(
            (&examples[0].answers, &examples[1].answers),
            (&vec!["a".to_owned(), "b c".to_owned()], &vec!["7".to_owned()])
        );
    }

    #[test]
    fn numbers_must_be_finite() {
        let number = Own { labels: None, answer: Answer::Number, metrics: vec![Metric::Pearson], ..own() };
        number.check().unwrap();
        let read = |value: &str| read(&number, Split::Train, &format!("title,text,label\nA,b,{value}\n"));
        for (value, target) in
            [(" 2.50 ", "2.5"), ("3.0", "3"), ("1e-2", "0.01"), ("12345678901234567890", "12345678901234567890")]
        {
            assert_eq!(read(value).unwrap()[0].target, target);
        }
        assert!(read("nan").unwrap_err().to_string().starts_with("line 2: `label` is `nan`, expected an answer"));
        for value in ["many", "inf", "1 2", "true"] {
            let error = read(value).unwrap_err().to_string();
            assert_eq!(error, format!("line 2: `label` is `{value}`, expected a number"));
        }
    }

    #[test]
    fn groups_and_ids_come_from_columns() {
        let grouped = Own { group: Some("q".to_owned()), id: Some("key".to_owned()), ..own() };
        let examples = read(&grouped, Split::Train, "title,text,label,q,key\na,b,0,Q,x\na,b,1,Q,y\n").unwrap();
        assert_eq!((examples[1].group.as_deref(), examples[1].id.as_str()), (Some("Q"), "y"));
        assert_eq!(
            read(&grouped, Split::Train, "title,text,label,q,key\na,b,0,Q,x\na,b,1,Q,x\n").unwrap_err().to_string(),
            "line 3: `key` is `x`, as in line 2; expected different values"
        );
        assert_eq!(
            read(&grouped, Split::Train, "title,text,label,q,key\na,b,0,,x\n").unwrap_err().to_string(),
            "line 2: `q` is empty, expected a value in every row"
        );
    }

    #[test]
    fn contradictions_are_told() {
        #[track_caller]
        fn refused(own: &Own, field: &str, message: &str) {
            let (found, told) = own.check().unwrap_err();
            assert_eq!(found, field);
            assert!(told.contains(message), "{told}");
        }
        let words = |words: &[&str]| Some(Labels::Words(words.iter().map(|word| (*word).to_owned()).collect()));
        let metrics = |metrics: &[Metric]| Own { metrics: metrics.to_vec(), ..own() };
        own().check().unwrap();
        refused(
            &metrics(&[Metric::Rouge1]),
            "metrics",
            "has `rouge1`, which does not fit answers that are labels; those that fit: `accuracy`, `f1`, `macro_f1`, `matthews`, `group_exact_match`",
        );
        refused(&metrics(&[]), "metrics", "is empty");
        refused(&metrics(&[Metric::Accuracy; 2]), "metrics", "has `accuracy` twice");
        refused(&metrics(&[Metric::GroupExactMatch]), "metrics", "needs `group`");
        let three = Own { labels: words(&["a", "b", "c"]), metrics: vec![Metric::F1], ..own() };
        refused(&three, "metrics", "has `f1`, which is of two labels, but there are 3; use `macro_f1`");
        refused(&Own { labels: words(&["a", "a"]), ..own() }, "labels", "has `a` twice");
        refused(&Own { labels: words(&["a"]), ..own() }, "labels", "has 1 different words");
        refused(&Own { labels: words(&["a", "b "]), ..own() }, "labels", "has `b `, which a model cannot write");
        refused(&Own { labels: words(&["a", HIDDEN]), ..own() }, "labels", "stands for a hidden answer");
        refused(&Own { name: " ".to_owned(), ..own() }, "name", "expected a word or two");
        let leak = Own { template: Template::parse("{label} {text}").unwrap(), ..own() };
        refused(&leak, "template", "has `{label}`, the column with the answer");
    }
}
