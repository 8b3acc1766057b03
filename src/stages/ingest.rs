//! `ingest`: a task's examples as text-to-text pairs and token ids, from files in their original layout, from a user's own
//! tables or text, or from the generator of built-in tasks.

mod asked;
mod description;
mod files;
mod hub;
mod laid;
mod rows;
mod table;
mod text;
mod writing;

use super::backbone;
use super::catalogue::{ByName, Row};
use super::{CARD, DATASET, INPUTS};
use crate::data::{Card, without_packing};
use crate::engine::context::Cx;
use crate::engine::library::Library;
use crate::engine::manifest::node::{Node, Value};
use crate::engine::manifest::problem::suggestion;
use crate::engine::manifest::{read_value, typed};
use crate::engine::stage::{Input, Issue, Known, Output, Ref, Stage, Subject, Type};
use crate::ml::random::Stream;
use crate::ml::tasks::{self, Amount, Answer, Example, LeftOut, Own, Reading, Split, Task, sample};
use crate::ml::text::tokens::Tokens;
use crate::ml::world;
use anyhow::{Context, anyhow, bail, ensure};
use files::Files;
use hub::Hub;
use rayon::ThreadPoolBuilder;
use rows::{Part, Rows};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use table::Table;
use text::Text;
use writing::About;

/// A task's data set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// The model whose tokenizer makes the ids.
    backbone: Ref,
    /// Where the examples come from.
    from: From,
    /// Makes a part of the validation split the test split, drawn by the seed, with groups in one piece and labels in
    /// proportion: scores on examples by which checkpoints were chosen are optimistic, and the labels of published test
    /// splits are hidden. A test split without labels makes way, and that of a built-in task is not made. Comes before `rows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_out: Option<HoldOut>,
    /// At most how many rows of each split; a random sample in the original order. All of them by default. Rows of a group (the answers
    /// to a question of MultiRC, those with one value in `group` of a table) are drawn together, as many whole groups as fit, but one
    /// at least, so that scores of groups mean what they mean on all rows.
    #[serde(default)]
    rows: MostRows,
    /// Put the task's name in front of every input, as T5 does.
    #[serde(default = "yes")]
    prefix: bool,
    /// Ids of an input, with eos; the rest is cut off.
    #[serde(default = "inputs")]
    input_length: usize,
    /// Ids of a target, with eos.
    #[serde(default = "targets")]
    target_length: usize,
    /// Seed of samples and generated rows.
    #[serde(default)]
    seed: u64,
    /// Whether what the card of the data set warns of ends the job: cut inputs and targets, inputs of other splits that are in the
    /// training split, contradictions, characters that the tokenizer does not know.
    #[serde(default, skip_serializing_if = "is_off")]
    strict: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_off(flag: &bool) -> bool {
    !flag
}

fn yes() -> bool {
    true
}

fn inputs() -> usize {
    512
}

fn targets() -> usize {
    32
}

/// Where examples come from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum From {
    /// A task of the built-in world: `w_nli`; or its plain text to be continued, without labels: `w_text`.
    Builtin(String),
    /// A task by its name: one of the paper's, which `spot tasks` lists, or one that the project describes in `tasks/NAME.yaml`. It
    /// stands for one of the others.
    Task(ByName),
    /// Files of a published data set.
    Files(Files),
    /// A task of your own.
    Table(Box<Table>),
    /// A task of a data set of the Hugging Face hub.
    Hub(Box<Hub>),
    /// Text to be continued.
    Text(Text),
    /// Files that no reader understands yet: the stage is blocked, and says why.
    Later(Later),
}

/// Files that no reader understands yet.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Later {
    /// Name of the task.
    name: String,
    /// Their names, as they are published.
    files: Vec<String>,
    /// What keeps them from being read.
    because: String,
}

impl From {
    /// Why there is nothing to read, if that is so.
    fn unread(&self) -> Option<String> {
        match self {
            Self::Later(later) => Some(later.why()),
            Self::Task(task) => Some(format!("`{}` was not looked up", task.name())),
            Self::Builtin(_) | Self::Files(_) | Self::Table(_) | Self::Hub(_) | Self::Text(_) => None,
        }
    }
}

impl Later {
    fn why(&self) -> String {
        format!("`{}` cannot be read yet ({}): {}", self.name, self.files.join(", "), self.because)
    }
}

/// How much of the validation split is held out.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum HoldOut {
    /// A share of its examples.
    Share(f64),
    /// So many examples.
    Rows(usize),
}

/// Why nothing of a text can be held out.
const NO_SPLIT: &str = "needs a validation split, and text has none";

/// Examples by split.
type Splits = Vec<(Split, Vec<Example>)>;

/// Rows that were left out, by split.
type Left = Vec<(Split, LeftOut)>;

/// Largest numbers of rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct MostRows {
    /// Of the training split.
    train: Option<usize>,
    /// Of the validation split.
    validation: Option<usize>,
    /// Of the test split.
    test: Option<usize>,
}

impl MostRows {
    fn of(&self, split: Split) -> Option<usize> {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
            Split::Test => self.test,
        }
    }
}

impl Stage for Ingest {
    const KIND: &'static str = "ingest";
    const VERSION: u32 = 6;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "dataset", of: DATASET },
        Output { name: "card", of: CARD },
        Output { name: "inputs", of: INPUTS },
    ];
    const WORDS: &'static [&'static str] =
        &["from.table.labels", "from.table.choices.first", "from.hub.labels", "from.hub.choices.first"];

    fn written_out(params: &Node, library: &Library) -> Result<Option<Node>, Issue> {
        let Some([(key, task)]) = params.get("from").map(Node::entries) else { return Ok(None) };
        // What is wrong with its form is told when parameters are read.
        let (true, Ok(by_name)) = (key.text == "task", typed::read::<ByName>(task)) else { return Ok(None) };
        let told = |(field, message): (&str, String)| Issue::new(format!("from.task{field}"), message);
        let row = by_name.row(library).map_err(told)?;
        check_row(&row).map_err(|message| Issue::new("from.task", message))?;
        let from = by_name.written_out(&row, task)?;
        let entries = params.entries().iter().map(|(key, node)| {
            let node = if key.text == "from" { &from } else { node };
            (key.clone(), node.clone())
        });
        Ok(Some(Node::new(Value::Map(entries.collect()), params.place)))
    }

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![backbone::input(&self.backbone)];
        match &self.from {
            From::Builtin(_) => {}
            From::Files(files) => {
                inputs.push(files.train.input("from.files.train", Type::FILE));
                inputs.extend(files.validation.iter().map(|file| file.input("from.files.validation", Type::FILE)));
                inputs.extend(files.test.iter().map(|file| file.input("from.files.test", Type::FILE)));
            }
            From::Table(table) => inputs.extend(table.inputs()),
            From::Hub(hub) => inputs.extend(hub.inputs()),
            From::Text(text) => inputs.extend(text.inputs()),
            From::Later(_) | From::Task(_) => {}
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        self.check_held_out()?;
        match &self.from {
            From::Builtin(name) if name != world::Text::NAME && world::find(name).is_none() => {
                let known = world::tasks().iter().map(|task| task.name).chain([world::Text::NAME]);
                let known = suggestion(name, known);
                Err(Issue::new("from.builtin", format!("no built-in task `{name}`{known}")))
            }
            From::Files(files) if tasks::task(&files.format).is_none() => {
                let known: Vec<&str> = tasks::formats().collect();
                let known = suggestion(&files.format, known.iter().copied());
                Err(Issue::new("from.files.format", format!("no data set format `{}`{known}", files.format)))
            }
            From::Files(Files { name: Some(name), .. }) if tasks::check_name(name).is_err() => {
                Err(Issue::new("from.files.name", tasks::check_name(name).err().unwrap_or_default()))
            }
            _ if self.input_length < 2 => Err(Issue::new("input_length", "expected at least 2")),
            _ if self.target_length < 2 => Err(Issue::new("target_length", "expected at least 2")),
            From::Table(table) => table.check(),
            From::Hub(hub) => hub.check(),
            From::Text(text) => text.check(self.input_length, self.target_length),
            From::Builtin(_) | From::Files(_) | From::Later(_) | From::Task(_) => Ok(()),
        }
    }

    fn blocked(&self) -> Option<String> {
        self.from.unread()
    }

    fn subject(&self, _: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        let name = match &self.from {
            From::Builtin(name) => name.clone(),
            From::Files(files) => files.task()?.name,
            From::Table(table) => table.name(),
            From::Hub(hub) => hub.name(),
            From::Text(text) => text.name(),
            From::Later(later) => later.name.clone(),
            From::Task(task) => task.name().to_owned(),
        };
        // Samples and held-out parts of one source are of one data set.
        Some(Subject { name, run: None, origin: Some(format!("{:?}", self.from)), source: None })
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        // Of jobs that run side by side each has a part of the threads; what others leave idle, a large data set takes.
        let pool = ThreadPoolBuilder::new().num_threads(cx.threads()).build().context("failed to start threads")?;
        pool.install(|| self.make(cx))
    }
}

/// The piece for what a tokenizer does not know.
const UNKNOWN: &str = "<unk>";

impl Ingest {
    fn make(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let (tokens, digest) = backbone::tokenizer(cx.one("backbone")?)?;
        let own = self.own(cx)?;
        let (task, parts, left) = match &self.from {
            From::Text(text) => {
                let windows = Rows::Windows(text.read(cx, &tokens, self.rows.train, self.seed)?);
                (text.task(), vec![part(cx, Split::Train, windows)?], Left::new())
            }
            From::Table(_) | From::Hub(_) | From::Later(_) | From::Task(_) | From::Builtin(_) | From::Files(_) => {
                let (task, parts, left) = self.examples(cx, own.as_ref())?;
                if own.is_some() {
                    self.check_labels(&task, &tokens)?;
                }
                let parts = self.drawn(cx, &task, parts)?;
                (task, parts, left)
            }
        };
        let written = writing::write(
            cx,
            &About {
                task: &task,
                template: &self.template(),
                tokens: &tokens,
                tokenizer: &digest.to_string(),
                most: [self.input_length, self.target_length],
                unknown: UNKNOWN,
            },
            &parts,
            &left,
        )?;
        self.judge(cx, &written.card)?;
        written.keep(cx)
    }

    /// Says what is wrong with a data set; an error if the stage is `strict`.
    fn judge(&self, cx: &Cx<'_>, card: &Card) -> anyhow::Result<()> {
        let most = (self.input_length, self.target_length);
        let warnings: Vec<String> = card.splits.iter().flat_map(|split| split.warnings(most)).collect();
        ensure!(!self.strict || warnings.is_empty(), "`strict`: {}", warnings.join("; "));
        warnings.iter().for_each(|warning| cx.progress().warn(warning));
        Ok(())
    }

    /// How rows of tables become examples, where the source is one.
    fn own(&self, cx: &Cx<'_>) -> anyhow::Result<Option<Own>> {
        match &self.from {
            From::Table(table) => Ok(Some(table.own().map_err(|(field, message)| anyhow!("`{field}` {message}"))?)),
            From::Hub(hub) => Ok(Some(hub.own_of(cx)?)),
            From::Builtin(_) | From::Task(_) | From::Files(_) | From::Text(_) | From::Later(_) => Ok(None),
        }
    }

    /// The examples by split, where they are, and which rows were left out. Those of tables are `own`.
    fn examples<'o>(&self, cx: &Cx<'_>, own: Option<&'o Own>) -> anyhow::Result<(Task, Vec<Part<'o>>, Left)> {
        let held = |(split, examples)| part(cx, split, Rows::Held(examples));
        let way = (self.prefix, self.seed);
        match (&self.from, own) {
            (From::Table(table), Some(own)) => {
                let (parts, left) = told(cx, table.read(cx, own, way)?);
                Ok((own.task(self.prefix), parts, left))
            }
            (From::Hub(hub), Some(own)) => {
                let (parts, left) = told(cx, hub.read(cx, own, way)?);
                Ok((own.task(self.prefix), parts, left))
            }
            (From::Files(files), _) => {
                let (parts, left) = files.parts(cx, &self.reading())?;
                Ok((files.known()?, parts, left))
            }
            _ => {
                let (task, splits) = self.held()?;
                Ok((task, splits.into_iter().map(held).collect::<anyhow::Result<_>>()?, Left::new()))
            }
        }
    }

    /// The parts of which the data set is made: some rows of those that are there, where fewer are asked for or some are held out.
    fn drawn<'o>(&self, cx: &Cx<'_>, task: &Task, mut parts: Vec<Part<'o>>) -> anyhow::Result<Vec<Part<'o>>> {
        for part in &parts {
            let (hidden, all) = (part.hidden(|example| task.knows(example)), part.len());
            if (1..all).contains(&hidden) {
                let split = part.split.name();
                cx.progress().warn(&format!(
                    "{hidden} of {all} rows of the {split} split hide their answers; they are predicted and not scored"
                ));
            }
        }
        if let Some(amount) = self.hold_out {
            parts = self.held_out(cx, task, parts, amount)?;
        }
        Ok(parts.into_iter().map(|part| self.sample(cx, part).decided()).collect())
    }

    /// The examples of the built-in tasks, in memory.
    fn held(&self) -> anyhow::Result<(Task, Splits)> {
        match &self.from {
            From::Builtin(name) if name == world::Text::NAME => {
                let count = self.rows.train.unwrap_or(world::Text::ROWS);
                Ok((world::Text::task(), vec![(Split::Train, world::Text::examples(count, self.seed))]))
            }
            From::Builtin(name) => {
                let builtin = world::find(name).with_context(|| format!("no built-in task `{name}`"))?;
                let made = |split| Some((split, self.generated(builtin.rows(split), split)?));
                let splits = Split::ALL.into_iter().filter_map(made).map(|(split, count)| {
                    let mut examples = builtin.examples(split, count, self.seed);
                    if self.prefix {
                        examples.iter_mut().for_each(|e| e.input = format!("{name} {}", e.input));
                    }
                    (split, examples)
                });
                Ok((builtin.task(), splits.collect()))
            }
            From::Files(_) | From::Table(_) | From::Hub(_) | From::Text(_) | From::Later(_) | From::Task(_) => {
                bail!("{}", self.from.unread().unwrap_or_default())
            }
        }
    }

    /// How many examples of a split of a built-in task are made, of which `usual` is the usual number. Where some are held out,
    /// they are the test split, and come from a validation split of full size.
    fn generated(&self, usual: usize, split: Split) -> Option<usize> {
        let asked = self.rows.of(split);
        match split {
            Split::Test if self.hold_out.is_some() => None,
            Split::Validation if self.hold_out.is_some() => Some(asked.unwrap_or(usual).max(usual)),
            _ => Some(asked.unwrap_or(usual)),
        }
    }

    fn check_held_out(&self) -> Result<(), Issue> {
        let refused = |message: &str| Err(Issue::new("hold_out", message.to_owned()));
        match (&self.from, self.hold_out) {
            (_, None) => Ok(()),
            (_, Some(HoldOut::Share(share))) if !(share > 0.0 && share < 1.0) => {
                Err(Issue::new("hold_out.share", format!("is {share}, expected between 0 and 1")))
            }
            (_, Some(HoldOut::Rows(0))) => Err(Issue::new("hold_out.rows", "is 0, expected at least 1")),
            (From::Builtin(name), _) if name == world::Text::NAME => refused(NO_SPLIT),
            (From::Text(_), _) => refused(NO_SPLIT),
            (From::Files(Files { validation: None, .. }), _) => {
                refused("needs a validation split to draw from; name its file as `from.files.validation`")
            }
            (From::Builtin(_) | From::Files(_) | From::Table(_) | From::Hub(_) | From::Later(_) | From::Task(_), _) => {
                Ok(())
            }
        }
    }

    /// The splits with a part of the validation split as the test split.
    fn held_out<'o>(
        &self,
        cx: &Cx<'_>,
        task: &Task,
        mut parts: Vec<Part<'o>>,
        amount: HoldOut,
    ) -> anyhow::Result<Vec<Part<'o>>> {
        if let Some(at) = parts.iter().position(|part| part.split == Split::Test) {
            let test = parts.remove(at);
            let known = test.len() - test.hidden(|example| task.knows(example));
            ensure!(
                known == 0,
                "`hold_out`: the test split has {known} examples with answers already; leave out `hold_out`, or the test file"
            );
            cx.progress().warn("the test split without answers makes way for the part of validation that is held out");
        }
        let at = parts.iter().position(|part| part.split == Split::Validation);
        let validation = parts.remove(at.context("`hold_out`: there is no validation split to draw from")?);
        let amount = match amount {
            HoldOut::Share(share) => Amount::Share(share),
            HoldOut::Rows(rows) => Amount::Rows(rows),
        };
        let mut stream = Stream::new(self.seed, "held-out rows");
        let held = tasks::hold_out(&validation.keys, amount, &mut stream)
            .map_err(|message| anyhow!("`hold_out`, of the validation split: {message}"))?;
        let (validation, test) = validation.divided(&held, (Split::Validation, Split::Test));
        parts.extend([validation, test]);
        Ok(parts)
    }

    /// Checks that a model with this tokenizer can answer with each label.
    fn check_labels(&self, task: &Task, tokens: &Tokens) -> anyhow::Result<()> {
        for label in task.labels.iter().filter(|_| task.answer == Answer::Label) {
            let ids = tokens.encode(label, usize::MAX)?;
            let (count, longest) = (ids.len(), self.target_length);
            ensure!(count <= longest, "the label `{label}` is {count} ids with eos, but `target_length` is {longest}");
            let back = tokens.decode(&ids)?;
            ensure!(
                back == *label,
                "the label `{label}` comes back from the tokenizer as `{back}`, so no answer would ever be right; choose \
                 another word"
            );
        }
        Ok(())
    }

    /// How an input is put together.
    fn template(&self) -> String {
        match &self.from {
            From::Builtin(name) if name == world::Text::NAME => text::TEMPLATE.to_owned(),
            From::Builtin(name) => {
                let fields = world::find(name).map_or(&[][..], |task| task.fields);
                let prefix = self.prefix.then(|| name.clone());
                let fields = fields.iter().map(|field| format!("{field}: {{{field}}}"));
                prefix.into_iter().chain(fields).collect::<Vec<_>>().join(" ")
            }
            From::Files(files) => tasks::template(&files.format, &self.reading()).unwrap_or_default(),
            From::Table(table) => table.template(self.prefix),
            From::Hub(hub) => hub.template(self.prefix),
            From::Text(_) => text::TEMPLATE.to_owned(),
            From::Later(_) | From::Task(_) => String::new(),
        }
    }

    fn reading(&self) -> Reading {
        Reading { prefix: self.prefix, ..Reading::default() }
    }

    /// As many examples of a part as are asked for.
    fn sample<'o>(&self, cx: &Cx<'_>, part: Part<'o>) -> Part<'o> {
        let split = part.split;
        match self.rows.of(split) {
            Some(rows) if rows < part.len() => {
                let mut stream = Stream::new(self.seed, &format!("rows of {}", split.name()));
                let taken = sample(&part.keys, rows, &mut stream);
                let taken = part.only(&taken);
                if taken.len() > rows {
                    let (split, count) = (split.name(), taken.len());
                    cx.progress().warn(&format!(
                        "`rows.{split}` is {rows}, but the group that was drawn has {count} rows; groups are not split"
                    ));
                }
                taken
            }
            _ => part,
        }
    }
}

/// All rows as the examples of a split.
fn part<'o>(cx: &Cx<'_>, split: Split, rows: Rows<'o>) -> anyhow::Result<Part<'o>> {
    Part::of(split, rows, cx.scratch()?, &|| cx.stopped())
}

/// What was read, once it is said how many rows were left out.
fn told<P>(cx: &Cx<'_>, read: (P, Left)) -> (P, Left) {
    for (split, LeftOut { rows, why }) in &read.1 {
        cx.progress().warn(&format!("{rows} rows of the {} split are left out; {why}", split.name()));
    }
    read
}

/// Checks what a row of the catalogue says, whatever files it is used with.
///
/// # Errors
/// The first mistake, with the file and the place in it.
pub fn check_row(row: &Row) -> Result<(), String> {
    if !row.has_template() {
        return Ok(());
    }
    let node = spelled(row.alone());
    let table: Table = read_value(node.at("table")).map_err(|problem| row.told(&problem))?;
    table.check().map_err(|Issue { field, message }| {
        let field = field.trim_start_matches("from.table.");
        row.wrong(field, &format!("`{field}` {message}"))
    })
}

/// The training examples of a file, by the template of a row of the catalogue.
#[cfg(test)]
pub(super) fn examples_in(row: &Row, name: &str, bytes: &[u8]) -> anyhow::Result<Vec<Example>> {
    let node = spelled(row.alone());
    let table: Table = read_value(node.at("table")).map_err(|problem| anyhow!(row.told(&problem)))?;
    table.examples_in(name, bytes, true)
}

/// The template of a row of the catalogue, with the word in front; `None` if it has none.
#[cfg(test)]
pub(super) fn template_of(row: &Row) -> Option<String> {
    let node = spelled(row.alone());
    let table: Table = read_value(node.at("table")).ok()?;
    row.has_template().then(|| table.template(true))
}

/// The example of a row of the catalogue as the model gets it.
///
/// # Errors
/// If the row has none, or it is no row of the task.
pub fn example_of(row: &Row) -> anyhow::Result<Vec<Example>> {
    let example = row.example().context("the task has no `example`")?;
    let line = serde_json::to_vec(&example)?;
    if row.has_template() {
        let node = spelled(row.alone());
        let table: Table = read_value(node.at("table")).map_err(|problem| anyhow!(row.told(&problem)))?;
        return table.examples_in("example.jsonl", &line, true);
    }
    let format = row.format.as_deref().context("the task is read neither by a template nor by a format")?;
    Ok(tasks::read(format, &line, Split::Train, &Reading::default())?)
}

/// A source whose words are as they are written.
fn spelled(mut from: Node) -> Node {
    from.spell_words();
    from
}

/// The name of a file or an output without its folder, its last ending and that of its packing.
fn stem(path: &str) -> &str {
    let name = without_packing(path.rsplit(['/', '\\']).next().unwrap_or(path));
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn recipe(from: &Value) -> Value {
        let given = json!({"backbone": "backbone", "from": from, "rows": {"train": 8}});
        serde_json::to_value(serde_json::from_value::<Ingest>(given).unwrap()).unwrap()
    }

    /// The parameters of data sets that were kept before there were tables, text and held-out parts.
    #[test]
    fn options_that_are_not_used_leave_recipes_as_they_were() {
        let expected = |from: Value| {
            json!({
                "backbone": null, "from": from, "rows": {"train": 8, "validation": null, "test": null}, "prefix": true,
                "input_length": 512, "target_length": 32, "seed": 0,
            })
        };
        assert_eq!(recipe(&json!({"builtin": "w_sum"})), expected(json!({"builtin": "w_sum"})));
        let files = json!({"files": {"format": "glue/rte", "train": "a.tsv", "validation": "b.tsv"}});
        assert_eq!(recipe(&files), expected(json!({"files": {"format": "glue/rte"}})));
    }

    #[test]
    fn recipes_of_tables_hold_layouts_and_defaults_but_no_paths() {
        let table = |paths: Value| {
            let mut table = json!({"template": "{a}", "label": "b", "labels": {"x": "yes", "y": "no"}});
            table.as_object_mut().unwrap().extend(paths.as_object().unwrap().clone());
            recipe(&json!({"table": table}))["from"]["table"].clone()
        };
        let expected = json!({
            "layouts": ["csv", null, "parquet"], "name": "mood", "template": "{a}", "label": "b",
            "labels": [["x", "yes"], ["y", "no"]], "answer": "label", "metrics": ["accuracy"], "group": null, "id": null,
            "validation_share": 0.1,
        });
        assert_eq!(table(json!({"train": "data/mood.csv", "test": "t.parquet"})), expected);
        assert_eq!(table(json!({"train": "x.CSV", "test": "y/t.parquet", "name": "mood"})), expected);
        assert_ne!(table(json!({"train": "mood.tsv", "test": "t.parquet"})), expected);
    }

    #[test]
    fn recipes_of_a_hub_hold_what_is_made_of_rows_and_no_names_of_theirs() {
        let hub = |more: Value| {
            let mut hub = json!({"dataset": "org/glue", "config": "rte", "template": "{a}", "label": "b"});
            hub.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            recipe(&json!({"hub": hub}))["from"]["hub"].clone()
        };
        let expected = json!({
            "name": "rte", "template": "{a}", "label": "b", "labels": null, "answer": null, "metrics": null, "group": null, "id": null,
            "validation_share": 0.1,
        });
        assert_eq!(hub(json!({})), expected);
        assert_eq!(
            hub(json!({"dataset": "other/copy", "revision": "refs/convert/parquet", "splits": {"train": "x"}})),
            expected
        );
        let labels =
            hub(json!({"labels": {"x": "yes", "y": "no"}, "splits": {"train": "train", "validation": ["dev"]}}));
        assert_eq!(labels["answer"], "label");
        assert_eq!([&labels["metrics"], &labels["validation_share"]], [&json!(["accuracy"]), &Value::Null]);
    }

    #[test]
    fn a_task_is_called_as_its_file() {
        let names = ["a/b.c/novels.txt.zst", "mood.csv", "x", "s.jsonl", "c4.json.gz"].map(stem);
        assert_eq!(names, ["novels", "mood", "x", "s", "c4"]);
    }
}
