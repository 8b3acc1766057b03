//! From the text of a manifest to a [`Plan`]: profiles, variables, matrices and references, every problem with its place.

use super::node::{Key, Node, Value, overlay, parse};
use super::plan::{Plan, Planned, PlannedInput, Source};
use super::problem::{Place, Problem, Problems, nearest, suggestion};
use super::reference;
use super::stage::{Input, Issue, Job, Kind, Ref, Type};
use super::variables::Scope;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What the command line says about a manifest.
pub struct Options<'a> {
    /// The profile; the first of the manifest if `None`.
    pub profile: Option<&'a str>,
    /// Paths and YAML values laid over the manifest: `vars.steps`, `10`.
    pub set: &'a [(String, String)],
    /// Reads an environment variable; asked only for those that the manifest names.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

/// Why a manifest gives no plan.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("manifest `{}`: {source}", path.display())]
    Io {
        /// The manifest.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It says something impossible.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Longest manifest, jobs of a plan.
const LONGEST: u64 = 1 << 20;
const MOST_JOBS: usize = 100_000;

const TOP: [&str; 6] = ["version", "name", "environment", "profiles", "vars", "stages"];
const PROFILE: [&str; 4] = ["like", "environment", "vars", "stages"];

/// Reads the manifest at `path` and resolves it.
///
/// # Errors
/// All its problems at once.
pub fn load(path: &Path, kinds: &[Kind], options: &Options<'_>) -> Result<Plan, LoadError> {
    let text = read(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
    resolve(path, &text, kinds, options).map_err(|problems| Problems::new(path, &text, problems).into())
}

fn read(path: &Path) -> std::io::Result<String> {
    let invalid = |message: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, message.to_owned());
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(invalid("longer than 1 MiB; a manifest is a page or two"));
    }
    let text = String::from_utf8(bytes).map_err(|_| invalid("not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

fn resolve(path: &Path, text: &str, kinds: &[Kind], options: &Options<'_>) -> Result<Plan, Vec<Problem>> {
    let mut root = parse(text)?;
    let mut found = Found::default();
    found.known_keys(&root, &TOP, "manifest");
    let profile = apply_profile(&mut root, options.profile, &mut found);
    for (at, value) in options.set {
        set(&mut root, at, value).unwrap_or_else(|message| found.at(Place::default(), message));
    }
    let name = header(&root, &mut found);
    let environment = environment(&root, options.environment, &mut found);
    let nothing = Node::new(Value::Map(Vec::new()), Place::default());
    let scope = Scope { vars: root.get("vars").unwrap_or(&nothing), environment: &environment, matrix: Vec::new() };
    let mut builder = Builder { kinds, found, stages: Vec::new(), jobs: Vec::new(), broken: BTreeSet::new() };
    match root.get("stages") {
        Some(stages) if !stages.entries().is_empty() => builder.stages(stages, &scope),
        Some(stages) => builder.found.at(stages.place, "`stages` is empty; a manifest needs at least one"),
        None => builder.found.at(root.place, "no `stages`; a manifest needs at least one"),
    }
    let graph = builder.link();
    let Builder { found, stages, .. } = builder;
    if !found.0.is_empty() {
        return Err(found.0);
    }
    let stages = stages.into_iter().map(|stage| stage.name).collect();
    Ok(Plan { name, profile, path: path.to_owned(), stages, graph })
}

/// The problems so far.
#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn at(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Problem::new(place, message));
    }

    fn known_keys(&mut self, node: &Node, known: &[&str], what: &str) {
        if !matches!(node.value, Value::Map(_)) {
            return self.at(node.place, format!("a {what} is a mapping, but here is {}", node.describe()));
        }
        for (key, _) in node.entries() {
            if !known.contains(&key.text.as_str()) {
                let hint = suggestion(&key.text, known.iter().copied());
                self.at(key.place, format!("unknown key `{}` of a {what}{hint}", key.text));
            }
        }
    }
}

/// Lays the profile over the manifest; its name.
fn apply_profile(root: &mut Node, asked: Option<&str>, found: &mut Found) -> Option<String> {
    let profiles = root.get("profiles").cloned();
    let entries = profiles.as_ref().map_or(&[][..], Node::entries);
    let names = || entries.iter().map(|(key, _)| key.text.as_str());
    for (_, profile) in entries {
        if profile.value != Value::Null {
            found.known_keys(profile, &PROFILE, "profile");
        }
    }
    let Some(name) = asked.or(names().next()) else { return None };
    let mut chain: Vec<&str> = Vec::new();
    let mut next = Some(name);
    while let Some(name) = next {
        let Some((_, profile)) = entries.iter().find(|(key, _)| key.text == name) else {
            let place =
                chain.last().and_then(|last| profiles.as_ref()?.get(last)?.get("like")).map_or(
                    profiles.as_ref().map_or(Place { line: 1, column: 1, width: 1 }, |node| node.place),
                    |like| like.place,
                );
            let known: Vec<&str> = names().collect();
            found.at(place, format!("no profile `{name}`{}", suggestion(name, known.iter().copied())));
            return None;
        };
        if chain.contains(&name) {
            found.at(profile.place, format!("profiles in a circle: {} -> {name}", chain.join(" -> ")));
            return None;
        }
        chain.push(name);
        next = profile.get("like").and_then(Node::text);
    }
    for name in chain.iter().rev() {
        let profile = entries.iter().find(|(key, _)| key.text == *name).map(|(_, profile)| profile);
        for (key, value) in profile.map_or(&[][..], Node::entries) {
            if key.text != "like" {
                put(root, key, value);
            }
        }
    }
    Some(name.to_owned())
}

fn put(root: &mut Node, key: &Key, value: &Node) {
    let single = Node::new(Value::Map(vec![(key.clone(), value.clone())]), value.place);
    overlay(root, &single);
}

/// Lays one value of `--set` over the manifest.
fn set(root: &mut Node, at: &str, value: &str) -> Result<(), String> {
    let parts: Vec<&str> = at.split('.').collect();
    let settable = ["environment", "vars", "stages"];
    if !settable.contains(&parts[0]) || parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(format!("`{at}` cannot be set; expected a path such as `vars.steps` or `stages.source.length`"));
    }
    let mut node = parse(value).map_err(|problems| format!("`{at}={value}`: {}", problems[0].message))?;
    clear_places(&mut node);
    for part in parts.iter().rev() {
        let key = Key { text: (*part).to_owned(), place: Place::default() };
        node = Node::new(Value::Map(vec![(key, node)]), Place::default());
    }
    overlay(root, &node);
    Ok(())
}

fn clear_places(node: &mut Node) {
    node.place = Place::default();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(clear_places),
        Value::Map(entries) => {
            for (key, value) in entries {
                key.place = Place::default();
                clear_places(value);
            }
        }
        _ => {}
    }
}

/// Checks `version` and `name`; the name.
fn header(root: &Node, found: &mut Found) -> String {
    match root.get("version") {
        Some(Node { value: Value::Int(1), .. }) => {}
        Some(other) => {
            found.at(other.place, format!("`version` is {}, this program reads version 1", other.describe()))
        }
        None => found.at(root.place, "no `version`; expected `version: 1`"),
    }
    let plain = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
    };
    match root.get("name") {
        Some(Node { value: Value::Text(name), .. }) if plain(name) => return name.clone(),
        Some(other) => found.at(
            other.place,
            format!(
                "`name` is {}; expected small letters, digits, `-` and `_`, since it names a folder",
                other.describe()
            ),
        ),
        None => found.at(root.place, "no `name`; expected one such as `name: spot_glue`"),
    }
    String::new()
}

fn environment(
    root: &Node,
    read: &dyn Fn(&str) -> Option<String>,
    found: &mut Found,
) -> BTreeMap<String, Option<String>> {
    let Some(node) = root.get("environment") else { return BTreeMap::new() };
    if !matches!(node.value, Value::Map(_)) {
        found.at(node.place, format!("`environment` is {}; expected names with their defaults", node.describe()));
    }
    let mut variables = BTreeMap::new();
    for (key, default) in node.entries() {
        let default = match &default.value {
            Value::Null => None,
            _ => match default.scalar() {
                Some(text) => Some(text),
                None => {
                    found.at(
                        default.place,
                        format!("the default of `{}` is {}, expected a text", key.text, default.describe()),
                    );
                    continue;
                }
            },
        };
        variables.insert(key.text.clone(), read(&key.text).or(default));
    }
    variables
}

/// A stage of the manifest.
struct Stage {
    name: String,
    kind: Kind,
    keys: Vec<String>,
    /// For each of its jobs the values of the matrix, and the index among all jobs.
    jobs: Vec<(Vec<String>, usize)>,
}

/// A job before its references are resolved.
struct Draft {
    name: String,
    stage: usize,
    job: Arc<dyn Job>,
    /// The parameters as written, for places.
    params: Node,
}

struct Builder<'k> {
    kinds: &'k [Kind],
    found: Found,
    stages: Vec<Stage>,
    jobs: Vec<Draft>,
    /// Stages with mistakes; references to them are not judged.
    broken: BTreeSet<String>,
}

impl Builder<'_> {
    fn stages(&mut self, stages: &Node, scope: &Scope<'_>) {
        for (name, stage) in stages.entries() {
            let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
            if name.text.is_empty() || !name.text.chars().all(fits) {
                self.found.at(
                    name.place,
                    format!("`{}` is no name for a stage; letters, digits, `-` and `_` are", name.text),
                );
                continue;
            }
            match &stage.value {
                Value::Null => {}
                Value::Map(_) => self.stage(name, stage, scope),
                _ => self
                    .found
                    .at(stage.place, format!("stage `{}` is {}, expected a mapping", name.text, stage.describe())),
            }
        }
    }

    fn stage(&mut self, name: &Key, node: &Node, scope: &Scope<'_>) {
        let Some(kind) = self.kind(name, node) else {
            self.broken.insert(name.text.clone());
            return;
        };
        let entries = node.entries().iter().filter(|(key, _)| key.text != "kind" && key.text != "matrix");
        let params = Node::new(Value::Map(entries.cloned().collect()), name.place);
        let Some(matrix) = self.matrix(node, scope) else {
            self.broken.insert(name.text.clone());
            return;
        };
        let keys: Vec<String> = matrix.iter().map(|(key, _)| key.clone()).collect();
        let count = matrix.iter().try_fold(1usize, |product, (_, values)| product.checked_mul(values.len()));
        if count.is_none_or(|count| count.saturating_add(self.jobs.len()) > MOST_JOBS) {
            return self.found.at(name.place, format!("stage `{}` brings the plan over {MOST_JOBS} jobs", name.text));
        }
        let index = self.stages.len();
        self.stages.push(Stage { name: name.text.clone(), kind, keys, jobs: Vec::new() });
        let mut seen = BTreeSet::new();
        for values in product(&matrix) {
            let texts: Vec<String> = values.iter().map(|(_, value)| value.scalar().unwrap_or_default()).collect();
            let job_name =
                if texts.is_empty() { name.text.clone() } else { format!("{}[{}]", name.text, texts.join(",")) };
            if !seen.insert(texts.clone()) {
                self.found.at(name.place, format!("two jobs are called `{job_name}`; the matrix has a value twice"));
                continue;
            }
            let scope = Scope { vars: scope.vars, environment: scope.environment, matrix: values };
            match self.job(kind, &params, &scope) {
                Some((job, params)) => {
                    self.stages[index].jobs.push((texts, self.jobs.len()));
                    self.jobs.push(Draft { name: job_name, stage: index, job, params });
                }
                // The other jobs would say the same with another value.
                None => {
                    self.broken.insert(name.text.clone());
                    break;
                }
            }
        }
    }

    fn kind(&mut self, name: &Key, node: &Node) -> Option<Kind> {
        let known = || self.kinds.iter().map(|kind| kind.name);
        let message = match node.get("kind") {
            None => format!("stage `{}` has no `kind`; known: {}", name.text, backticked(known())),
            Some(kind) => match kind.text().and_then(|text| self.kinds.iter().find(|known| known.name == text)) {
                Some(found) => return Some(*found),
                None => {
                    let written = kind.scalar().unwrap_or_default();
                    let names: Vec<&str> = known().collect();
                    format!("no kind `{written}`{}", suggestion(&written, names.iter().copied()))
                }
            },
        };
        self.found.at(node.get("kind").map_or(name.place, |kind| kind.place), message);
        None
    }

    /// Keys and values of a stage's matrix.
    fn matrix(&mut self, node: &Node, scope: &Scope<'_>) -> Option<Vec<(String, Vec<Node>)>> {
        let Some(matrix) = node.get("matrix") else { return Some(Vec::new()) };
        if !matches!(matrix.value, Value::Map(_)) {
            self.found
                .at(matrix.place, format!("`matrix` is {}, expected keys with lists of values", matrix.describe()));
            return None;
        }
        let mut keys = Vec::new();
        let mut good = true;
        for (key, values) in matrix.entries() {
            let expanded = match scope.expand(values) {
                Ok(expanded) => expanded,
                Err(problem) => {
                    self.found.0.push(problem);
                    good = false;
                    continue;
                }
            };
            match expanded.value {
                Value::List(items) if !items.is_empty() => {
                    for item in &items {
                        let plain = matches!(item.value, Value::Text(_) | Value::Int(_) | Value::Bool(_));
                        let text = item.scalar().unwrap_or_default();
                        if !plain
                            || text.is_empty()
                            || text.contains(['[', ']', ',', '*', '=', '/'])
                            || text.contains(char::is_control)
                        {
                            self.found.at(
                                item.place,
                                format!(
                                    "a value of the matrix is {}; expected a word or a whole number",
                                    item.describe()
                                ),
                            );
                            good = false;
                        }
                    }
                    keys.push((key.text.clone(), items));
                }
                _ => {
                    self.found.at(
                        values.place,
                        format!(
                            "matrix key `{}` is {}, expected a list with values",
                            key.text,
                            Node::new(expanded.value, values.place).describe()
                        ),
                    );
                    good = false;
                }
            }
        }
        good.then_some(keys)
    }

    fn job(&mut self, kind: Kind, params: &Node, scope: &Scope<'_>) -> Option<(Arc<dyn Job>, Node)> {
        let Value::Map(entries) = &params.value else { unreachable!("parameters are a mapping") };
        let mut expanded = Vec::with_capacity(entries.len());
        let before = self.found.0.len();
        for (key, value) in entries {
            match scope.expand(value) {
                Ok(value) => expanded.push((key.clone(), value)),
                Err(problem) => self.found.0.push(problem),
            }
        }
        if self.found.0.len() > before {
            return None;
        }
        let params = Node { value: Value::Map(expanded), ..params.clone() };
        let job = (kind.parse)(params.to_yaml()).and_then(|job| job.check().map(|()| job));
        match job {
            Ok(job) => Some((job.into(), params)),
            Err(issue) => {
                self.found.0.push(problem_of(&issue, &params));
                None
            }
        }
    }

    /// Resolves all references; the graph, as far as it goes.
    fn link(&mut self) -> DiGraph<Planned, ()> {
        let mut graph = DiGraph::with_capacity(self.jobs.len(), 2 * self.jobs.len());
        for draft in &self.jobs {
            let Stage { name, kind, .. } = &self.stages[draft.stage];
            graph.add_node(Planned {
                name: draft.name.clone(),
                stage: name.clone(),
                kind: *kind,
                job: draft.job.clone(),
                inputs: Vec::new(),
            });
        }
        let mut problems = Vec::new();
        for (index, draft) in self.jobs.iter().enumerate() {
            for input in draft.job.inputs() {
                match self.input(draft, input) {
                    Ok(Some(input)) => graph[NodeIndex::new(index)].inputs.push(input),
                    Ok(None) => {}
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let mut edges = BTreeSet::new();
        for index in graph.node_indices() {
            for input in &graph[index].inputs {
                match &input.source {
                    Source::Output(from, _) => drop(edges.insert((*from, index))),
                    Source::Outputs(many) => edges.extend(many.iter().map(|(from, _)| (*from, index))),
                    Source::File(_) | Source::Folder(..) => {}
                }
            }
        }
        for (from, to) in edges {
            graph.add_edge(from, to, ());
        }
        if let Some(cycle) = cycle(&graph) {
            let names: Vec<&str> = cycle.iter().map(|index| graph[*index].name.as_str()).collect();
            let place = self.jobs[cycle[0].index()].params.place;
            problems.push(Problem::new(place, format!("a cycle: {} -> {}", names.join(" -> "), names[0])));
        }
        self.found.0.extend(problems);
        graph
    }

    /// What an input stands for; `None` if that cannot be judged.
    fn input(&self, draft: &Draft, input: Input) -> Result<Option<PlannedInput>, Problem> {
        match input {
            Input::Artifacts { field, refs, of, many } => {
                let mut sources = Vec::new();
                for reference in &refs {
                    let place = place_of_text(draft.params.at(&field), &reference.0);
                    if reference::parse(&reference.0).is_ok_and(|parsed| self.broken.contains(parsed.stage)) {
                        return Ok(None);
                    }
                    let found = self.reference(draft, reference, of, many);
                    sources.extend(found.map_err(|message| Problem::new(place, message))?);
                }
                if many {
                    return Ok(Some(PlannedInput { role: field, source: Source::Outputs(sources) }));
                }
                let (job, output) = sources[0];
                Ok(Some(PlannedInput { role: field, source: Source::Output(job, output) }))
            }
            Input::File { field, path } => {
                let path = self.path(draft, &field, &path)?;
                Ok(Some(PlannedInput { role: field, source: Source::File(path) }))
            }
            Input::Folder { field, path, pick } => {
                let path = self.path(draft, &field, &path)?;
                Ok(Some(PlannedInput { role: field, source: Source::Folder(path, pick) }))
            }
        }
    }

    fn path(&self, draft: &Draft, field: &str, path: &str) -> Result<PathBuf, Problem> {
        let node = draft.params.at(field);
        let outside = Path::new(path).is_absolute() || Path::new(path).components().any(|c| c == Component::ParentDir);
        if path.is_empty() {
            return Err(Problem::new(node.place, "an empty path"));
        }
        if outside && !node.from_variable {
            let message =
                format!("`{path}` leads out of the project; name the folder by a variable, such as `${{DATA}}/file`");
            return Err(Problem::new(node.place, message));
        }
        Ok(PathBuf::from(path))
    }

    fn reference(
        &self,
        draft: &Draft,
        reference: &Ref,
        of: Type,
        many: bool,
    ) -> Result<Vec<(NodeIndex, &'static str)>, String> {
        let parsed = reference::parse(&reference.0)?;
        let Some(stage) = self.stages.iter().find(|stage| stage.name == parsed.stage) else {
            let known: Vec<&str> = self.stages.iter().map(|stage| stage.name.as_str()).collect();
            return Err(format!("no stage `{}`{}", parsed.stage, suggestion(parsed.stage, known.iter().copied())));
        };
        let output = output(stage, parsed.output, of)?;
        let values: Vec<Vec<String>> = stage.jobs.iter().map(|(values, _)| values.clone()).collect();
        let (chosen, several) = match &parsed.pattern {
            Some(pattern) => pattern.select(&stage.name, &stage.keys, &values)?,
            None => ((0..stage.jobs.len()).collect(), !stage.keys.is_empty()),
        };
        if several && !many {
            return Err(format!(
                "`{}` stands for {} jobs, but one is needed; write `{}[{}]`",
                reference.0,
                chosen.len(),
                stage.name,
                stage.keys.iter().map(|key| format!("${{{key}}}")).collect::<Vec<_>>().join(",")
            ));
        }
        let jobs: Vec<usize> = chosen.into_iter().map(|i| stage.jobs[i].1).collect();
        if jobs.is_empty() {
            return Err(format!("`{}` stands for no job", reference.0));
        }
        if jobs.iter().any(|job| self.jobs[*job].name == draft.name) {
            return Err(format!("`{}` refers to itself", draft.name));
        }
        Ok(jobs.into_iter().map(|job| (NodeIndex::new(job), output)).collect())
    }
}

/// The output of a stage that is meant.
fn output(stage: &Stage, named: Option<&str>, of: Type) -> Result<&'static str, String> {
    let outputs = stage.kind.outputs;
    let listed = || outputs.iter().map(|o| format!("`{}` ({})", o.name, o.of)).collect::<Vec<_>>().join(", ");
    let fitting: Vec<_> = outputs.iter().filter(|output| output.of == of).collect();
    match named {
        Some(name) => match outputs.iter().find(|output| output.name == name) {
            Some(output) if output.of == of => Ok(output.name),
            Some(output) => Err(format!("`{}.{name}` is of type {}, expected {of}", stage.name, output.of)),
            None => Err(format!("`{}` has no output `{name}`; it has {}", stage.name, listed())),
        },
        None => match fitting[..] {
            [output] => Ok(output.name),
            [] => Err(format!("`{}` makes no {of}; it makes {}", stage.name, listed())),
            _ => Err(format!("`{}` makes several of type {of}; name one: {}", stage.name, listed())),
        },
    }
}

fn backticked<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// All combinations, the first key outermost.
fn product(matrix: &[(String, Vec<Node>)]) -> Vec<Vec<(String, Node)>> {
    let mut rows: Vec<Vec<(String, Node)>> = vec![Vec::new()];
    for (key, values) in matrix {
        rows = rows
            .into_iter()
            .flat_map(|row| {
                values.iter().map(move |value| row.iter().cloned().chain([(key.clone(), value.clone())]).collect())
            })
            .collect();
    }
    rows
}

/// Where a mistake in parameters stands, and what it says.
fn problem_of(issue: &Issue, params: &Node) -> Problem {
    let node = params.at(&issue.field);
    let message = friendlier(&issue.message);
    let last = issue.field.rsplit(['.', ']']).next().unwrap_or_default();
    let place = if issue.message.starts_with("unknown field") { key_place(params, &issue.field, last) } else { None };
    let prefix = if issue.field.is_empty() || place.is_some() { String::new() } else { format!("`{}`: ", issue.field) };
    Problem::new(place.unwrap_or(node.place), format!("{prefix}{message}"))
}

/// The place of the key at the end of a path.
fn key_place(params: &Node, field: &str, last: &str) -> Option<Place> {
    let parent = match field.rsplit_once('.') {
        Some((parent, _)) => params.at(parent),
        None => params,
    };
    parent.entries().iter().find(|(key, _)| key.text == last).map(|(key, _)| key.place)
}

/// Serde's message with the nearest known name in place of a list of all.
fn friendlier(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    for (what, found) in [("unknown field `", "unknown key"), ("unknown variant `", "unknown value")] {
        let Some(rest) = message.strip_prefix(what) else { continue };
        let Some((written, rest)) = rest.split_once('`') else { continue };
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = match nearest(written, known.iter().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if known.is_empty() => "; none is expected here".to_owned(),
            None => format!("; known: {}", backticked(known.into_iter())),
        };
        return format!("{found} `{written}`{hint}");
    }
    message.to_owned()
}

/// The place of a text in a field that may be a list.
fn place_of_text(node: &Node, text: &str) -> Place {
    match &node.value {
        Value::List(items) => items.iter().find(|item| item.text() == Some(text)).unwrap_or(node).place,
        _ => node.place,
    }
}

/// The shortest cycle through the first job that is on one.
fn cycle(graph: &DiGraph<Planned, ()>) -> Option<Vec<NodeIndex>> {
    let on_cycles: Vec<BTreeSet<NodeIndex>> = petgraph::algo::tarjan_scc(graph)
        .into_iter()
        .filter(|component| component.len() > 1)
        .map(|component| component.into_iter().collect())
        .collect();
    let start = on_cycles.iter().filter_map(|component| component.first()).min().copied()?;
    let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        let mut next: Vec<NodeIndex> = graph.neighbors(at).collect();
        next.sort_unstable();
        for node in next {
            if node == start {
                let mut path = vec![at];
                while let Some(before) = came_from.get(&path[path.len() - 1]) {
                    path.push(*before);
                }
                path.reverse();
                return Some(path);
            }
            if !came_from.contains_key(&node) {
                came_from.insert(node, at);
                queue.push_back(node);
            }
        }
    }
    None
}
