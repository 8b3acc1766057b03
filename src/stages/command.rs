//! `command`: a program of one's own as a stage. It finds copies of its inputs, writes files, and sees nothing of the
//! environment but what the manifest says.
//!
//! Nothing is a sandbox here: a program may do what the user may. What is kept away from it is what would make results depend on
//! more than the recipe by accident: the environment, the current folder, a shell.

mod child;
mod guard;
mod workplace;

use super::word::Word;
use crate::braces::{Braces, Piece};
use crate::engine::context::{Cx, Interrupted};
use crate::engine::input::FileInput;
use crate::engine::manifest::problem::suggestion;
use crate::engine::stage::{Input, Issue, Needs, Output, Promise, Refs, Stage, Type};
use crate::engine::store::content::Content;
use anyhow::{anyhow, bail, ensure};
use child::{End, Ended, Program};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use signal_hook::low_level::signal_name;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use workplace::Workplace;

/// A program of your own. It must be a function of its inputs: what is kept of it is served as long as its recipe stays. The
/// recipe has the arguments, the environment, and the content of the inputs; of the program itself only what is an input.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments; no shell reads them. `{name}` stands for the path of an input, a set or an output,
    /// `{{` and `}}` for braces. The program starts in an empty folder, so name your script as an input:
    /// `run: [python3, "{script}"]`, `inputs: {script: tools/clean.py}`.
    run: Vec<Word>,
    /// Files, each a path or `{output: stage.name}`, or in short a stage. The program finds a copy of each at `$SPOT_IN_<name>`; it can be
    /// executed, and ends as the file or the output does. The parts of an artifact are in a folder beside it that ends in
    /// `.parts`.
    #[serde(default, serialize_with = "endings")]
    inputs: BTreeMap<String, FileInput>,
    /// Outputs of several jobs (`stage[*].name`). `$SPOT_IN_<name>` is a folder of them, numbered in the order of their
    /// digests.
    #[serde(default, serialize_with = "endings_of_sets", skip_serializing_if = "BTreeMap::is_empty")]
    sets: BTreeMap<String, Refs>,
    /// Names of the files that the program writes into the folder `$SPOT_OUT`: these and no others. Other stages refer to
    /// them as `stage.name`.
    outputs: Vec<String>,
    /// The program's environment, beside `PATH` (`/usr/local/bin:/usr/bin:/bin`) and an empty folder as `HOME` and `TMPDIR`.
    /// Values are part of the recipe. `{VIRTUAL_ENV: "${VIRTUAL_ENV}"}` passes one on that the manifest's `environment` names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, Word>,
    /// Seconds that the program may take; without, as long as it likes.
    #[serde(default, skip_serializing)]
    timeout: Option<u64>,
}

/// Where programs are looked for if the manifest does not say.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Bytes of the name of an input or an output.
const LONGEST_NAME: usize = 100;
/// Lines of a program's messages that an error repeats.
const LINES: usize = 20;

/// What of the inputs decides the result beside their content: their names and how their files end.
fn endings<S: Serializer>(inputs: &BTreeMap<String, FileInput>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(inputs.iter().map(|(name, input)| (name, ending(input.name()))))
}

fn endings_of_sets<S: Serializer>(sets: &BTreeMap<String, Refs>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(sets.iter().map(|(name, refs)| (name, ending_of_set(refs))))
}

/// How a file ends: `csv`.
fn ending(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit('/').next()?.rsplit_once('.')?;
    let is_plain = !ending.is_empty() && ending.chars().all(|c| c.is_ascii_alphanumeric());
    (is_plain && !stem.is_empty()).then_some(ending)
}

/// How all files of a set end, if they end alike.
fn ending_of_set(refs: &Refs) -> Option<String> {
    let mut endings = refs.0.iter().map(|reference| {
        let output = FileInput::Output(reference.clone());
        ending(output.name()).map(str::to_owned)
    });
    let first = endings.next()??;
    endings.all(|other| other.as_deref() == Some(&first)).then_some(first)
}

fn with_ending(name: &str, ending: Option<&str>) -> PathBuf {
    PathBuf::from(ending.map_or_else(|| name.to_owned(), |ending| format!("{name}.{ending}")))
}

impl Stage for Command {
    const KIND: &'static str = "command";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[];
    const WORDS: &'static [&'static str] = &["run", "environment"];

    fn inputs(&self) -> Vec<Input> {
        let inputs = self.inputs.iter().map(|(name, input)| input.input_or_stage(role("inputs", name), Type::ANY));
        let sets = self.sets.iter().map(|(name, refs)| Input::many(role("sets", name), refs, Type::ANY));
        inputs.chain(sets).collect()
    }

    fn outputs(&self) -> Vec<Promise> {
        self.outputs.iter().map(|name| Promise { name: name.as_str().into(), of: Type::FILE }).collect()
    }

    fn check(&self) -> Result<(), Issue> {
        self.check_names()?;
        self.check_arguments()?;
        for (name, Word(value)) in &self.environment {
            let field = role("environment", name);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(Issue::new("environment", format!("`{name}` cannot name an environment variable")));
            }
            if name.starts_with("SPOT_") {
                return Err(Issue::new(field, "is set by the program itself, as is all that begins with `SPOT_`"));
            }
            if value.contains('\0') {
                return Err(Issue::new(field, "has a NUL character, which no environment can hold"));
            }
        }
        if self.timeout == Some(0) {
            return Err(Issue::new("timeout", "is 0, expected at least one second"));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs { program: true, ..Needs::default() }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let place = Workplace::new(cx)?;
        let paths = self.lay_out(cx, &place)?;
        let arguments: Vec<OsString> = self
            .arguments()
            .map(|argument| Ok(filled(&argument.map_err(|message| anyhow!("`run` {message}"))?, &paths)))
            .collect::<anyhow::Result<_>>()?;
        let environment = self.surroundings(&place, &paths);
        let (folder, timeout) = (place.current(), self.timeout.map(Duration::from_secs));
        let program = Program { arguments: &arguments, environment: &environment, folder: &folder, timeout };
        let ended = program.run(&|| cx.stopped())?;
        if was_told_to_end(&ended.how, &|| cx.stopped()) {
            return Err(Interrupted { step: 0 }.into());
        }
        match ended.how {
            End::Stopped => return Err(Interrupted { step: 0 }.into()),
            End::Exited(status) if status.success() => {}
            End::Exited(status) => bail!("{} {}{}", self.name(), said_by(status), self.last_words(&ended)),
            End::TimedOut => {
                let seconds = self.timeout.unwrap_or_default();
                let words = self.last_words(&ended);
                bail!(
                    "{} took longer than `timeout`, {seconds} s, and was killed with all it had started{words}",
                    self.name()
                )
            }
        }
        self.check_written(&place.outputs()).map_err(|error| anyhow!("{error}{}", self.last_words(&ended)))?;
        for (stream, text) in [("stdout", &ended.out), ("stderr", &ended.err)] {
            if !text.is_empty() {
                cx.note(stream, text);
            }
        }
        for name in &self.outputs {
            cx.write(name, &Content::of(&place.outputs().join(name))?)?;
        }
        Ok(())
    }
}

/// Whether a program ended since all of this task was told to: Slurm sends its signals to every process, and the program may hear of it
/// before this one does. What it wrote then may be cut off, however it ended.
fn was_told_to_end(how: &End, stopped: &dyn Fn() -> bool) -> bool {
    const FOR_A_FAILURE: Duration = Duration::from_secs(2);
    const FOR_A_SUCCESS: Duration = Duration::from_millis(100);
    let is_of_slurm = std::env::var_os("SLURM_JOB_ID").is_some();
    let patience = match how {
        End::Exited(status) if status.success() && is_of_slurm => FOR_A_SUCCESS,
        End::Exited(status) if status.signal().is_some() || is_of_slurm => FOR_A_FAILURE,
        _ => return false,
    };
    let started = Instant::now();
    while !stopped() && started.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    stopped()
}

fn role(field: &str, name: &str) -> String {
    format!("{field}.{name}")
}

/// An argument with paths for names, all of which are known.
fn filled(argument: &Braces, paths: &BTreeMap<String, PathBuf>) -> OsString {
    let mut filled = OsString::new();
    for piece in argument.pieces() {
        match piece {
            Piece::Text(text) => filled.push(text),
            Piece::Name(name) => filled.push(&paths[name]),
        }
    }
    filled
}

/// What is known of the end of a program that failed.
fn said_by(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => {
            format!("was killed by signal {signal} ({})", signal_name(signal).unwrap_or("no common one"))
        }
        (None, None) => "failed".to_owned(),
    }
}

impl Command {
    fn check_names(&self) -> Result<(), Issue> {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        let inputs = self.inputs.keys().map(|name| ("inputs", name));
        for (field, name) in inputs.chain(self.sets.keys().map(|name| ("sets", name))) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
                let message = format!(
                    "`{name}` cannot name an input; expected up to {LONGEST_NAME} letters, digits and `_`, since \
                     `$SPOT_IN_{name}` has its path"
                );
                return Err(Issue::new(field, message));
            }
            if !known.insert(name) {
                return Err(Issue::new(role(field, name), "is already an input; give it another name"));
            }
        }
        if self.outputs.is_empty() {
            return Err(Issue::new("outputs", "is empty, expected the names of the files that the program writes"));
        }
        for (i, name) in self.outputs.iter().enumerate() {
            let field = format!("outputs[{i}]");
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) || name.starts_with(['.', '-'])
            {
                let message = format!(
                    "is `{name}`, which cannot name an output; expected up to {LONGEST_NAME} letters, digits, `_`, \
                     `-` and `.`, with a letter, a digit or `_` first"
                );
                return Err(Issue::new(field, message));
            }
            // Beside the outputs the folder of a job's views has a link of this name.
            if name == "entry.json" {
                return Err(Issue::new(field, "is `entry.json`, the name of a job's record; choose another"));
            }
            if !known.insert(name) {
                return Err(Issue::new(field, format!("is `{name}`, which already names an input or output")));
            }
        }
        Ok(())
    }

    fn check_arguments(&self) -> Result<(), Issue> {
        let known = || self.inputs.keys().chain(self.sets.keys()).chain(&self.outputs).map(String::as_str);
        for (i, argument) in self.arguments().enumerate() {
            let field = format!("run[{i}]");
            let argument = argument.map_err(|message| Issue::new(&field, message))?;
            if self.run[i].0.contains('\0') {
                return Err(Issue::new(field, "has a NUL character, which no argument can hold"));
            }
            if let Some(name) = argument.names().find(|name| known().all(|known| known != *name)) {
                let hint = suggestion(name, known());
                let message = format!(
                    "has the placeholder `{{{name}}}`, but no input or output has that name{hint}; a brace that is text is \
                     doubled"
                );
                return Err(Issue::new(field, message));
            }
            let path = argument.plain().filter(|path| path.contains('/') && !path.starts_with('/'));
            if let Some(path) = path.filter(|_| i == 0) {
                let message = format!(
                    "is the path `{path}`, but programs start in an empty folder; make the file an input, so that a change of \
                     it is seen: `inputs: {{script: {path}}}`, `run: [\"{{script}}\"]`"
                );
                return Err(Issue::new(field, message));
            }
        }
        match self.run.first() {
            Some(Word(name)) if !name.is_empty() => Ok(()),
            Some(_) => Err(Issue::new("run[0]", "is empty, expected the name of a program")),
            None => Err(Issue::new("run", "is empty, expected a program and its arguments")),
        }
    }

    fn arguments(&self) -> impl Iterator<Item = Result<Braces, String>> {
        self.run.iter().map(|Word(text)| Braces::parse(text))
    }

    /// The program as people know it.
    fn name(&self) -> String {
        format!("`{}`", self.run.first().map_or("", |Word(name)| name))
    }

    /// Copies the inputs to where the program finds them; gives the paths of inputs, sets and outputs by their names.
    fn lay_out(&self, cx: &Cx<'_>, place: &Workplace) -> anyhow::Result<BTreeMap<String, PathBuf>> {
        let mut paths = BTreeMap::new();
        for (name, input) in &self.inputs {
            let file = with_ending(name, ending(input.name()));
            paths.insert(name.clone(), place.put(&file, cx.one(&role("inputs", name))?)?);
        }
        for (name, refs) in &self.sets {
            let ending = ending_of_set(refs);
            for (i, artifact) in cx.many(&role("sets", name)).into_iter().enumerate() {
                place.put(&Path::new(name).join(with_ending(&format!("{i:06}"), ending.as_deref())), artifact)?;
            }
            paths.insert(name.clone(), place.inputs().join(name));
        }
        paths.extend(self.outputs.iter().map(|name| (name.clone(), place.outputs().join(name))));
        Ok(paths)
    }

    /// All of the program's environment.
    fn surroundings(&self, place: &Workplace, paths: &BTreeMap<String, PathBuf>) -> BTreeMap<String, OsString> {
        let mut all: BTreeMap<String, OsString> = BTreeMap::from([
            ("PATH".to_owned(), PATH.into()),
            ("HOME".to_owned(), place.temporary().into()),
            ("TMPDIR".to_owned(), place.temporary().into()),
        ]);
        all.extend(self.environment.iter().map(|(name, Word(value))| (name.clone(), value.into())));
        let inputs = self.inputs.keys().chain(self.sets.keys());
        all.extend(inputs.map(|name| (format!("SPOT_IN_{name}"), paths[name].clone().into())));
        all.insert("SPOT_OUT".to_owned(), place.outputs().into());
        all
    }

    /// Whether the program wrote its outputs and nothing else.
    fn check_written(&self, folder: &Path) -> anyhow::Result<()> {
        let mut missing: BTreeSet<&str> = self.outputs.iter().map(String::as_str).collect();
        for item in fs_err::read_dir(folder)? {
            let item = item?;
            let name = item.file_name().to_string_lossy().into_owned();
            let known = self.outputs.iter().map(String::as_str);
            ensure!(
                missing.remove(name.as_str()),
                "{} wrote `{name}` into `$SPOT_OUT`, which is not in `outputs`{}",
                self.name(),
                suggestion(&name, known)
            );
            let kind = item.file_type()?;
            let what = match () {
                () if kind.is_file() => continue,
                () if kind.is_dir() => "a folder",
                () if kind.is_symlink() => "a symbolic link",
                () => "a special file",
            };
            bail!("the output `{name}` of {} is {what}, expected a file", self.name());
        }
        let missing: Vec<&str> = missing.into_iter().collect();
        ensure!(missing.is_empty(), "{} did not write `{}` into `$SPOT_OUT`", self.name(), missing.join("`, `"));
        Ok(())
    }

    /// The end of what a program that failed said, and what may be wrong with its arguments.
    fn last_words(&self, ended: &Ended) -> String {
        let text = if ended.err.is_empty() { &ended.out } else { &ended.err };
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        let mut words = if last.is_empty() { String::new() } else { format!("; it said:\n  {}", last.join("\n  ")) };
        let file =
            self.run.iter().map(|Word(text)| text).find(|text| Path::new(text).is_file() && !text.starts_with('/'));
        if let Some(file) = file {
            words += &format!(
                "\nhint: `{file}` is a file of the project, but programs start in an empty folder; make it an input: \
                 `inputs: {{name: {file}}}`, and write `{{name}}` in `run`"
            );
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stage::Ref;
    use serde_json::json;

    #[test]
    fn recipes_hold_endings_and_no_paths_nor_names_of_stages() {
        let command = |script: &str, stage: &str| {
            let given = json!({
                "run": ["sh", "{script}", 3], "inputs": {"script": script, "rows": {"output": format!("{stage}.rows.csv")}},
                "sets": {"all": format!("{stage}[*].rows.csv")}, "outputs": ["x.csv"], "environment": {"N": 1}, "timeout": 9,
            });
            serde_json::to_value(serde_json::from_value::<Command>(given).unwrap()).unwrap()
        };
        let expected = json!({
            "run": ["sh", "{script}", "3"], "inputs": {"script": "sh", "rows": "csv"}, "sets": {"all": "csv"},
            "outputs": ["x.csv"], "environment": {"N": "1"},
        });
        assert_eq!(command("tools/clean.sh", "clean"), expected);
        assert_eq!(command("other/wash.sh", "wash"), expected);
    }

    #[test]
    fn names_in_arguments_become_paths() {
        let paths = BTreeMap::from([("a.csv".to_owned(), PathBuf::from("/x/a.csv")), ("b".to_owned(), "/y".into())]);
        let filled = |text: &str| filled(&Braces::parse(text).unwrap(), &paths).into_string().unwrap();
        assert_eq!(filled("--in={a.csv}:{b}!"), "--in=/x/a.csv:/y!");
        assert_eq!(filled("{{print $1}} {{{b}}}"), "{print $1} {/y}");
    }

    #[test]
    fn a_file_ends_after_its_last_dot() {
        for (name, expected) in
            [("a/b.c/x.tar.gz", Some("gz")), ("x", None), (".x", None), ("x.", None), ("a.b/x", None)]
        {
            assert_eq!(ending(name), expected, "{name}");
        }
        let refs = |texts: &[&str]| Refs(texts.iter().map(|text| Ref((*text).to_owned())).collect());
        assert_eq!(ending_of_set(&refs(&["a.x.csv", "b.y.csv"])).as_deref(), Some("csv"));
        assert_eq!(ending_of_set(&refs(&["a.x.csv", "b.y.tsv"])), None);
    }
}
