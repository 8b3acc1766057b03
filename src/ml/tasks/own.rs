//! Tasks of a user's own: rows of a table become examples by a template, and a column holds the answers.

use super::error::{closest, listed, shortened};
use super::format::HIDDEN;
use super::sheet::{Cell, Place, Sheet, SheetError, Wanted};
use super::template::Template;
use super::{Answer, Example, Metric, Split, Task};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How the rows of a table make up a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// Name of the task.
    pub name: String,
    /// How an input is put together.
    pub template: Template,
    /// The column with the answer.
    pub label: String,
    /// The words of the answers, if they are labels.
    pub labels: Option<Labels>,
    /// What answers are, if they are not labels: [`Answer::Text`] or [`Answer::Number`].
    pub answer: Answer,
    /// Its metrics.
    pub metrics: Vec<Metric>,
    /// The column that says which examples belong together.
    pub group: Option<String>,
    /// The column that identifies rows.
    pub id: Option<String>,
}

/// Label words, and which value of the column stands for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// A value is one of the words or, if no word is a whole number, its place among them from 0.
    Words(Vec<String>),
    /// Values with their words, in the order of the labels; several values may stand for one word.
    Values(Vec<(String, String)>),
}

impl Labels {
    /// The different words, in their order.
    pub fn words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = Vec::new();
        match self {
            Self::Words(all) => words.extend(all.iter().map(String::as_str)),
            Self::Values(values) => {
                for (_, word) in values {
                    if !words.contains(&word.as_str()) {
                        words.push(word);
                    }
                }
            }
        }
        words
    }

    /// The label that a value stands for.
    fn of(&self, value: &str) -> Option<usize> {
        match self {
            Self::Words(words) => {
                let word = words.iter().position(|word| word == value);
                // If words are numbers, a number that is no word is a mistake and not a place.
                let places = words.iter().all(|word| word.parse::<i64>().is_err());
                word.or_else(|| value.parse().ok().filter(|place| places && *place < words.len()))
            }
            Self::Values(values) => {
                let (_, word) = values.iter().find(|(known, _)| known == value)?;
                self.words().iter().position(|known| known == word)
            }
        }
    }

    /// For messages: what a value may be.
    fn known(&self) -> String {
        match self {
            Self::Words(words) => {
                let numbered =
                    words.iter().enumerate().take(20).map(|(id, word)| format!("{id} `{}`", shortened(word)));
                numbered.collect::<Vec<_>>().join(", ")
            }
            Self::Values(values) => listed(values.iter().take(20).map(|(value, _)| value.as_str())),
        }
    }

    fn nearest(&self, value: &str) -> Option<String> {
        match self {
            Self::Words(words) => closest(value, words.iter().map(String::as_str)),
            Self::Values(values) => closest(value, values.iter().map(|(value, _)| value.as_str())),
        }
    }
}

/// A mistake in the definition of a task: the field, and what is wrong with it.
pub type Mistake = (&'static str, String);

impl Own {
    /// The metrics of a task that names none.
    pub fn usual_metrics(answer: Answer) -> Vec<Metric> {
        match answer {
            Answer::Label | Answer::Referent => vec![Metric::Accuracy],
            Answer::Number => vec![Metric::Pearson, Metric::Spearman],
            Answer::Text => vec![Metric::ExactMatch, Metric::TokenF1],
        }
    }

    /// Looks for contradictions.
    pub fn check(&self) -> Result<(), Mistake> {
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Err(("name", format!("is `{}`, expected a word or two", shortened(&self.name).escape_debug())));
        }
        if self.template.columns().contains(&self.label.as_str()) {
            let label = shortened(&self.label);
            return Err((
                "template",
                format!("has `{{{label}}}`, the column with the answer; the input must not hold it"),
            ));
        }
        if let Some(labels) = &self.labels {
            check_labels(labels)?;
        }
        self.check_metrics()
    }

    fn check_metrics(&self) -> Result<(), Mistake> {
        let wrong = |message: String| Err(("metrics", message));
        let kind = match self.answer {
            Answer::Label | Answer::Referent => "labels",
            Answer::Number => "numbers",
            Answer::Text => "free text",
        };
        if self.metrics.is_empty() {
            return wrong("is empty; expected one at least, or leave it out".to_owned());
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
        let words = self.labels.as_ref().map_or(0, |labels| labels.words().len());
        if self.metrics.contains(&Metric::F1) && words != 2 {
            return wrong(format!("has `f1`, which is of two labels, but there are {words}; use `macro_f1`"));
        }
        if self.metrics.contains(&Metric::GroupExactMatch) && self.group.is_none() {
            return wrong(
                "has `group_exact_match`, which needs `group`, the column that says what belongs together".to_owned(),
            );
        }
        Ok(())
    }

    /// The task as data sets describe it.
    pub fn task(&self) -> Task {
        let words = self.labels.as_ref().map_or_else(Vec::new, |labels| labels.words());
        Task {
            name: self.name.clone(),
            labels: words.into_iter().map(str::to_owned).collect(),
            answer: self.answer,
            metrics: self.metrics.clone(),
        }
    }

    /// The columns that are read, in the order in which [`examples`](Self::examples) expects them. Test splits may lack the
    /// answer.
    pub fn wanted(&self, split: Split) -> Vec<Wanted<'_>> {
        let required = |name| Wanted { name, required: true };
        let mut wanted = vec![Wanted { name: &self.label, required: split != Split::Test }];
        wanted.extend(self.template.columns().into_iter().map(required));
        wanted.extend([&self.group, &self.id].into_iter().flatten().map(|name| required(name)));
        wanted
    }

    /// The examples of a split. `prefix` puts the task's name in front of their inputs.
    pub fn examples(&self, sheet: Sheet, split: Split, prefix: bool) -> Result<Vec<Example>, SheetError> {
        let names = self.template.columns();
        let mut ids: BTreeMap<String, Place> = BTreeMap::new();
        let mut examples = Vec::with_capacity(sheet.rows.len());
        for (row, (place, cells)) in sheet.rows.into_iter().enumerate() {
            let mut cells = cells.into_iter();
            let answer = cells.next().unwrap_or(Cell::Missing);
            let values = names.iter().zip(cells.by_ref()).map(|(name, cell)| Ok((*name, plain(name, cell, place)?)));
            let values = values.collect::<Result<BTreeMap<&str, String>, _>>()?;
            let input = self.template.fill(|name| Cow::Borrowed(values.get(name).map_or("", String::as_str)));
            let mut named = |name: &Option<String>| -> Result<Option<String>, SheetError> {
                let Some(name) = name else { return Ok(None) };
                let text = plain(name, cells.next().unwrap_or(Cell::Missing), place)?;
                if text.is_empty() {
                    return Err(place.wrong(format!("`{}` is empty, expected a value in every row", shortened(name))));
                }
                Ok(Some(text))
            };
            let (group, id) = (named(&self.group)?, named(&self.id)?);
            if let (Some(name), Some(id)) = (&self.id, &id)
                && let Some(first) = ids.insert(id.clone(), place)
            {
                let (name, id) = (shortened(name), shortened(id));
                return Err(place.wrong(format!("`{name}` is `{id}`, as in {first}; expected different values")));
            }
            let (target, label, answers) = self.answer(answer, split, place)?;
            examples.push(Example {
                id: id.unwrap_or_else(|| row.to_string()),
                input: if prefix { format!("{} {input}", self.name) } else { input },
                target,
                label,
                group,
                answers,
            });
        }
        Ok(examples)
    }

    /// What an answer is as target, label and accepted answers.
    fn answer(&self, cell: Cell, split: Split, place: Place) -> Result<(String, Option<u32>, Vec<String>), SheetError> {
        let name = shortened(&self.label);
        let hidden = match &cell {
            Cell::Missing => true,
            Cell::Text(text) => text.trim().is_empty(),
            Cell::Texts(texts) => texts.is_empty(),
            _ => false,
        };
        if hidden {
            let missing =
                || place.wrong(format!("`{name}` is empty, expected an answer; only a test split may hide it"));
            return if split == Split::Test { Ok((HIDDEN.to_owned(), None, Vec::new())) } else { Err(missing()) };
        }
        match (&self.labels, self.answer) {
            (Some(labels), _) => {
                let value = value(&cell);
                let two = labels.words().len() == 2;
                let truth = matches!(cell, Cell::Bool(_)).then(|| usize::from(cell == Cell::Bool(true)));
                let id = labels.of(&value).or_else(|| truth.filter(|_| two)).ok_or_else(|| {
                    let near = labels.nearest(&value);
                    let near = near.map_or_else(String::new, |near| format!(" (did you mean `{}`?)", shortened(&near)));
                    let known = labels.known();
                    place.wrong(format!("`{name}` is {cell}, which is no label{near}; labels are {known}"))
                })?;
                Ok((labels.words()[id].to_owned(), Some(id as u32), Vec::new()))
            }
            (None, Answer::Number) => {
                let text = value(&cell);
                match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => Ok((text, None, Vec::new())),
                    _ => Err(place.wrong(format!("`{name}` is {cell}, expected a number"))),
                }
            }
            (None, _) => match cell {
                Cell::Texts(answers) => Ok((answers[0].clone(), None, answers)),
                cell => {
                    let text = plain(&self.label, cell, place)?;
                    Ok((text.clone(), None, vec![text]))
                }
            },
        }
    }
}

fn check_labels(labels: &Labels) -> Result<(), Mistake> {
    let wrong = |message: String| Err(("labels", message));
    let words = labels.words();
    if words.len() < 2 {
        let count = words.len();
        return wrong(format!(
            "has {count} different words, expected two at least; leave it out if answers are free text"
        ));
    }
    for (at, word) in words.iter().enumerate() {
        let shown = shortened(word);
        if words[..at].contains(word) {
            return wrong(format!("has `{shown}` twice"));
        }
        if word.is_empty() || word.trim() != *word || word.chars().any(char::is_control) {
            let shown = shown.escape_debug();
            return wrong(format!(
                "has `{shown}`, which a model cannot write; expected words without white space around them"
            ));
        }
        if *word == HIDDEN {
            return wrong(format!("has `{shown}`, which stands for a hidden answer"));
        }
    }
    if let Labels::Values(values) = labels {
        for (at, (value, _)) in values.iter().enumerate() {
            if values[..at].iter().any(|(other, _)| other == value) {
                return wrong(format!("has the value `{}` twice", shortened(value)));
            }
        }
    }
    Ok(())
}

/// A value as label words and keys are written: tables that once had gaps keep whole numbers as `1.0`.
fn value(cell: &Cell) -> String {
    let number = |number: f64| {
        let whole = number.fract() == 0.0 && number.abs() < 1e15;
        if whole { (number as i64).to_string() } else { number.to_string() }
    };
    match cell {
        Cell::Text(text) => {
            let text = text.trim();
            match text.strip_suffix(".0").map(str::parse::<i64>) {
                Some(Ok(whole)) => whole.to_string(),
                _ => text.to_owned(),
            }
        }
        Cell::Float(float) => number(*float),
        Cell::Int(whole) => whole.to_string(),
        Cell::Bool(truth) => truth.to_string(),
        Cell::Missing | Cell::Texts(_) => String::new(),
    }
}

/// A cell as text; a missing one is empty.
fn plain(name: &str, cell: Cell, place: Place) -> Result<String, SheetError> {
    Ok(match cell {
        Cell::Missing => String::new(),
        Cell::Text(text) => text,
        Cell::Bool(value) => value.to_string(),
        Cell::Int(number) => number.to_string(),
        Cell::Float(number) if number.is_nan() => String::new(),
        Cell::Float(number) => number.to_string(),
        Cell::Texts(_) => return Err(place.wrong(format!("`{}` is a list, expected a text", shortened(name)))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        Own {
            name: "mood".to_owned(),
            template: Template::parse("title: {title} review: {text}").unwrap(),
            label: "label".to_owned(),
            labels: Some(Labels::Words(vec!["bad".to_owned(), "good".to_owned()])),
            answer: Answer::Label,
            metrics: vec![Metric::Accuracy],
            group: None,
            id: None,
        }
    }

    fn read(own: &Own, split: Split, text: &str) -> Result<Vec<Example>, SheetError> {
        let sheet = Sheet::from_delimited(text.as_bytes(), ',', &own.wanted(split))?;
        own.examples(sheet, split, true)
    }

    fn labels(own: &Own, values: &[&str]) -> Result<Vec<u32>, SheetError> {
        let rows: String = values.iter().map(|value| format!("t,x,{value}\n")).collect();
        let examples = read(own, Split::Train, &format!("title,text,label\n{rows}"))?;
        Ok(examples.into_iter().map(|example| example.label.unwrap()).collect())
    }

    #[test]
    fn rows_become_examples() {
        let examples = read(&own(), Split::Train, "text,title,label,more\nfine,A {title},good,1\n,B, 0 ,2\n").unwrap();
        let found: Vec<_> = examples.iter().map(|e| (&*e.id, &*e.input, &*e.target, e.label)).collect();
        assert_eq!(
            found,
            [
                ("0", "mood title: A {title} review: fine", "good", Some(1)),
                ("1", "mood title: B review: ", "bad", Some(0))
            ]
        );
        assert_eq!(own().task().labels, ["bad", "good"]);
    }

    #[test]
    fn labels_are_words_or_places_or_mapped_values() {
        assert_eq!(labels(&own(), &["bad", "1", "0.0", "good"]).unwrap(), [0, 1, 0, 1]);
        let stars = |pairs: &[(&str, &str)]| {
            let values = pairs.iter().map(|(value, word)| ((*value).to_owned(), (*word).to_owned())).collect();
            Own { labels: Some(Labels::Values(values)), ..own() }
        };
        let stars = stars(&[("1", "bad"), ("2", "bad"), ("3", "good"), ("True", "good")]);
        stars.check().unwrap();
        assert_eq!(labels(&stars, &["2", "3", "1.0", "True"]).unwrap(), [0, 1, 0, 1]);
        assert_eq!(
            labels(&stars, &["good"]).unwrap_err().to_string(),
            "line 2: `label` is `good`, which is no label; labels are `1`, `2`, `3`, `True`"
        );
    }

    #[test]
    fn numbers_that_are_words_are_not_places() {
        let words = ["1", "2", "3"].map(str::to_owned).to_vec();
        let stars = Own { labels: Some(Labels::Words(words)), ..own() };
        assert_eq!(labels(&stars, &["1", "3"]).unwrap(), [0, 2]);
        assert_eq!(
            labels(&stars, &["1", "0"]).unwrap_err().to_string(),
            "line 3: `label` is `0`, which is no label; labels are 0 `1`, 1 `2`, 2 `3`"
        );
    }

    #[test]
    fn a_label_outside_the_set_is_refused_with_the_nearest() {
        assert_eq!(
            labels(&own(), &["good", "goood"]).unwrap_err().to_string(),
            "line 3: `label` is `goood`, which is no label (did you mean `good`?); labels are 0 `bad`, 1 `good`"
        );
        for value in ["2", "-1", "Good"] {
            assert!(labels(&own(), &[value]).is_err(), "{value}");
        }
    }

    #[test]
    fn booleans_are_the_places_of_two_labels() {
        let sheet = |text: &str, own: &Own| {
            let sheet = Sheet::from_json_lines(text.as_bytes(), &own.wanted(Split::Train)).unwrap();
            own.examples(sheet, Split::Train, false).map(|examples| examples[0].label)
        };
        let text = r#"{"title": "t", "text": "x", "label": true}"#;
        assert_eq!(sheet(text, &own()).unwrap(), Some(1));
        let three = Own { labels: Some(Labels::Words(["a", "b", "c"].map(str::to_owned).to_vec())), ..own() };
        assert!(sheet(text, &three).is_err());
    }

    #[test]
    fn only_test_splits_may_hide_answers() {
        for text in ["title,text\nA,b\n", "title,text,label\nA,b,\n"] {
            let hidden = read(&own(), Split::Test, text).unwrap();
            assert_eq!((hidden[0].target.as_str(), hidden[0].label), (HIDDEN, None));
        }
        assert_eq!(
            read(&own(), Split::Validation, "title,text,label\nA,b,\n").unwrap_err().to_string(),
            "line 2: `label` is empty, expected an answer; only a test split may hide it"
        );
        assert_eq!(
            read(&own(), Split::Train, "title,text,lable\nA,b,\n").unwrap_err().to_string(),
            "line 1: no column `label` (did you mean `lable`?); found `title`, `text`, `lable`"
        );
    }

    #[test]
    fn free_text_may_have_several_answers() {
        let text = Own { labels: None, answer: Answer::Text, metrics: vec![Metric::Rouge1], ..own() };
        text.check().unwrap();
        let lines = "{\"title\": null, \"text\": 1.5, \"label\": [\"a\", \"b c\"]}\n{\"title\": \"\", \"text\": \"\", \"label\": 7}\n";
        let sheet = Sheet::from_json_lines(lines.as_bytes(), &text.wanted(Split::Train)).unwrap();
        let examples = text.examples(sheet, Split::Train, false).unwrap();
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
        assert_eq!(read(" 2.50 ").unwrap()[0].target, "2.50");
        for value in ["many", "nan", "inf", "1 2"] {
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
