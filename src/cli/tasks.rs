//! `spot tasks`: the tasks that `from: {task: NAME}` of a manifest may name, and what each of them is.

use super::{Format, JSON_VERSION};
use crate::engine::library::Library;
use crate::error::{Exit, Usage};
use crate::ml::tasks::{Example, Split};
use crate::stages::catalogue::{self, Counts, Entry, Of, Origin, Row};
use crate::stages::ingest::{check_row, example_of};
use crate::ui;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

/// Arguments of `spot tasks`.
#[derive(Args)]
pub(super) struct Tasks {
    /// Explain this one, with an example as the model gets it
    name: Option<String>,
    /// Whose it is, where the program and the project have one of this name
    #[arg(long, value_enum, requires = "name")]
    of: Option<Whose>,
    /// One of its variants
    #[arg(long, value_name = "NAME", requires = "name")]
    variant: Option<String>,
    /// Which form
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// [`Of`] as an argument.
#[derive(Clone, Copy, ValueEnum)]
enum Whose {
    Program,
    Project,
}

impl From<Whose> for Of {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::Program => Self::Program,
            Whose::Project => Self::Project,
        }
    }
}

impl Tasks {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is no such task, or the project's file of one cannot be read.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let library = Library::of(".");
        let Some(name) = &self.name else {
            let all = catalogue::all(&library).map_err(Usage)?;
            all.iter().try_for_each(|entry| check_row(&entry.row)).map_err(Usage)?;
            match self.format {
                Format::Text => ui::print(&list(&all))?,
                Format::Json => {
                    let tasks: Vec<Value> = all.iter().map(|entry| described(entry, &[])).collect();
                    ui::print_json(&json!({"version": JSON_VERSION, "tasks": tasks}))?;
                }
            }
            return Ok(Exit::Ok);
        };
        let mut entry = catalogue::find(&library, name, self.of.map(Of::from)).map_err(Usage)?;
        if let Some(variant) = &self.variant {
            entry.row = entry.row.variant(variant).map_err(Usage)?;
        }
        check_row(&entry.row).map_err(Usage)?;
        let examples = match entry.row.example() {
            Some(_) => example_of(&entry.row)?,
            None => Vec::new(),
        };
        match self.format {
            Format::Text => ui::print(&explained(&entry, self.variant.as_deref(), &examples))?,
            Format::Json => {
                ui::print_json(&json!({"version": JSON_VERSION, "task": described(&entry, &examples)}))?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// A line a task.
fn list(all: &[Entry]) -> String {
    let header = ["task", "data set", "training rows", "metrics", "part in the paper"].map(str::to_owned);
    let row = |Entry { of, row }: &Entry| {
        let roles = match of {
            Of::Project => "of this project".to_owned(),
            Of::Program => row.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", "),
        };
        [row.name.clone(), data_set(row), row.rows.train.map_or_else(String::new, thousands), metrics(row), roles]
    };
    let rows: Vec<[String; 5]> = std::iter::once(header).chain(all.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let line = |row: &[String; 5]| {
        let [name, data, count, metrics, roles] = row;
        let [a, b, c, d] = widths;
        format!("{name:a$}  {data:b$}  {count:>c$}  {metrics:d$}  {roles}").trim_end().to_owned() + "\n"
    };
    let unread = all.iter().filter(|entry| entry.row.later.is_some()).count();
    let program = all.iter().filter(|entry| entry.of == Of::Program).count();
    format!(
        "{}\n{program} tasks of the paper, of which {unread} cannot be read yet; `spot tasks NAME` explains one, and says why\n",
        rows.iter().map(line).collect::<String>()
    )
}

fn data_set(row: &Row) -> String {
    match (&row.hub, &row.later) {
        (_, Some(_)) => "cannot be read yet".to_owned(),
        (Some(hub), None) => match &hub.config {
            Some(config) => format!("{}, {config}", hub.dataset),
            None => hub.dataset.clone(),
        },
        (None, None) => "files of your own".to_owned(),
    }
}

fn metrics(row: &Row) -> String {
    row.metrics().iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ")
}

fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// All that is known of a task.
fn explained(Entry { of, row }: &Entry, variant: Option<&str>, examples: &[Example]) -> String {
    let mut text = match &row.about {
        Some(about) => format!("{}: {about}\n", row.name),
        None => format!("{}\n", row.name),
    };
    let mut line = |what: &str, said: &str| text += &format!("  {what:<15}  {said}\n");
    if *of == Of::Project {
        line("of", &format!("this project, `tasks/{}.yaml`", row.name));
    }
    if let Some(later) = &row.later {
        line("cannot be read", &later.because);
        line("files", &later.files.join(", "));
    } else {
        line("data set", &data_set(row));
    }
    if let Some(hub) = &row.hub {
        let splits = hub.splits.iter().map(|(split, name)| format!("{name} for {}", split.name()));
        line("splits", &splits.collect::<Vec<_>>().join(", "));
    }
    if let Some(format) = &row.format {
        line("files", &format!("as its authors publish them, read by `{format}`"));
    }
    let counts =
        Split::ALL.into_iter().filter_map(|split| Some(format!("{} {}", thousands(row.rows.of(split)?), split.name())));
    let counts = counts.collect::<Vec<_>>().join(", ");
    if !counts.is_empty() {
        line("rows", &counts);
    }
    for field in ["template", "label", "labels", "choices", "drop", "round"] {
        if let Some(value) = row.field(field) {
            line(field, &plain(&value));
        }
    }
    line("metrics", &metrics(row));
    match &row.template_from {
        Some(Origin::Spot(at)) => line("template from", &format!("the paper's code, {at}")),
        Some(Origin::T5(at)) => line("template from", &format!("T5's code, {at}")),
        Some(Origin::Ours(why)) => line("template from", &format!("this program; {why}")),
        None => {}
    }
    if let Some(licence) = &row.licence {
        line("licence", licence);
    }
    if !row.unverified.is_empty() {
        line("not verified", &row.unverified.join(", "));
    }
    if !row.roles.is_empty() {
        line("in the paper", &row.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", "));
    }
    let variants: Vec<&str> = row.variants().collect();
    if !variants.is_empty() {
        line("variants", &variants.join(", "));
    }
    row.notes.iter().for_each(|note| line("note", note));
    for example in examples {
        text += &format!("\nexample\n  input   {}\n  target  {}\n", example.input, example.target);
    }
    text + &format!("\nin a manifest\n{}", usage(row, variant))
}

/// How a manifest names it.
fn usage(row: &Row, variant: Option<&str>) -> String {
    let variant = variant.map_or_else(String::new, |variant| format!(", variant: {variant}"));
    let alone = match variant.as_str() {
        "" => row.name.clone(),
        variant => format!("{{name: {}{variant}}}", row.name),
    };
    if row.later.is_some() {
        return format!("  from: {{task: {alone}}}    the stage is blocked, and says why\n");
    }
    let mut lines = String::new();
    if row.hub.is_some() && row.has_template() || row.field("files").is_some() {
        lines += &format!("  from: {{task: {alone}}}\n");
    }
    lines + &format!("  from: {{task: {{name: {}{variant}, train: FILE, validation: FILE}}}}\n", row.name)
}

/// A value for people: texts without quotes.
fn plain(value: &Value) -> String {
    let pair = |(key, value): (&String, &Value)| format!("{key} is {}", plain(value));
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => entries.iter().map(pair).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// For programs.
fn described(Entry { of, row }: &Entry, examples: &[Example]) -> Value {
    let examples: Vec<Value> =
        examples.iter().map(|example| json!({"input": example.input, "target": example.target})).collect();
    let Counts { train, validation, test } = row.rows;
    json!({
        "name": row.name,
        "of": of,
        "about": row.about,
        "roles": row.roles,
        "hub": row.hub,
        "format": row.format,
        "template": row.field("template"),
        "label": row.field("label"),
        "labels": row.field("labels"),
        "metrics": row.metrics(),
        "rows": {"train": train, "validation": validation, "test": test},
        "licence": row.licence,
        "template_from": row.template_from,
        "unverified": row.unverified,
        "notes": row.notes,
        "variants": row.variants().collect::<Vec<_>>(),
        "later": row.later,
        "examples": examples,
    })
}
