//! `combine`: a prompt that is made of others by arithmetic, without any tuning: an analogy of tasks, `a - b + c`, a mean, or what lies
//! between two.

use super::PROMPT;
use super::names::check_apart;
use super::reading::read;
use crate::engine::context::{Artifact, Cx};
use crate::engine::stage::{Input, Issue, Known, Output, Ref, Refs, Stage, Subject};
use crate::ml::prompt::Prompt;
use crate::ml::prompt::about::About;
use crate::ml::prompt::combination::combination;
use crate::ml::prompt::file::{self, PromptFile};
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A prompt made of others, which must be of one model and one shape. Rows of prompts that began independently do not correspond, so
/// that adding them up means nothing: the prompts must have one `origin`, or have begun from one prompt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Combine {
    /// What is made of which prompts.
    from: From,
    /// The task of the result; that of the prompts if they have one in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// The seed of the result; that of the prompts if they have one in common, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// Add up prompts that began independently too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    allow_different_origins: bool,
}

/// What is made of which prompts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum From {
    /// Each times its weight: `[{prompt: a}, {prompt: b, weight: -1}, {prompt: c}]` is `a - b + c`.
    Sum(Vec<Term>),
    /// All alike.
    Mean(Refs),
    /// Each times its weight, over the sum of the weights.
    WeightedMean(Vec<Term>),
    /// A point on the line from one to another.
    Between(Between),
}

/// A prompt and its weight.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Term {
    /// The prompt.
    prompt: Ref,
    /// What it is multiplied with.
    #[serde(default = "one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

/// A point between two prompts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Between {
    /// Where it is at 0.
    from: Ref,
    /// Where it is at 1.
    to: Ref,
    /// 0 to 1.
    at: f64,
}

/// Roles of the prompts of a list.
fn role(list: &str, at: usize) -> String {
    format!("from.{list}[{at}].prompt")
}

impl From {
    const MEAN: &'static str = "from.mean";
    const ENDS: [&'static str; 2] = ["from.between.from", "from.between.to"];

    /// The roles of its prompts, and what each prompt of a role is multiplied with.
    fn weights(&self) -> Vec<(String, f64)> {
        let listed = |list: &str, terms: &[Term]| {
            terms.iter().enumerate().map(|(at, term)| (role(list, at), term.weight)).collect()
        };
        match self {
            Self::Sum(terms) => listed("sum", terms),
            Self::WeightedMean(terms) => listed("weighted_mean", terms),
            Self::Mean(_) => vec![(Self::MEAN.to_owned(), 1.0)],
            Self::Between(Between { at, .. }) => {
                Self::ENDS.into_iter().map(str::to_owned).zip([1.0 - at, *at]).collect()
            }
        }
    }

    /// What the sum is divided by.
    fn divisor(&self, prompts: usize) -> f64 {
        match self {
            Self::Sum(_) | Self::Between(_) => 1.0,
            Self::Mean(_) => prompts as f64,
            Self::WeightedMean(terms) => terms.iter().map(|term| term.weight).sum(),
        }
    }

    fn check(&self) -> Result<(), Issue> {
        let wrong = |field: String, message: String| Err(Issue::new(field, message));
        let empty = |list: &str| wrong(format!("from.{list}"), "is empty, expected one prompt at least".to_owned());
        match self {
            Self::Sum(terms) if terms.is_empty() => empty("sum"),
            Self::WeightedMean(terms) if terms.is_empty() => empty("weighted_mean"),
            Self::Mean(Refs(refs)) if refs.is_empty() => empty("mean"),
            Self::Between(Between { at, .. }) if !(0.0..=1.0).contains(at) => {
                let message = format!("is {at}, expected 0 to 1; `sum` with weights goes beyond the two");
                wrong("from.between.at".to_owned(), message)
            }
            Self::Mean(_) | Self::Between(_) => Ok(()),
            Self::Sum(terms) => match terms.iter().position(|term| !term.weight.is_finite()) {
                None => Ok(()),
                Some(at) => wrong(format!("from.sum[{at}].weight"), "is no finite number".to_owned()),
            },
            Self::WeightedMean(terms) => {
                let odd = |term: &Term| !(term.weight.is_finite() && term.weight > 0.0);
                let Some(at) = terms.iter().position(odd) else { return Ok(()) };
                let message = format!("is {}, expected a number above 0; `sum` takes others too", terms[at].weight);
                wrong(format!("from.weighted_mean[{at}].weight"), message)
            }
        }
    }
}

impl Stage for Combine {
    const KIND: &'static str = "combine";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "prompt", of: PROMPT }];

    fn inputs(&self) -> Vec<Input> {
        let listed = |list: &str, terms: &[Term]| {
            terms.iter().enumerate().map(|(at, term)| Input::one(role(list, at), &term.prompt, PROMPT)).collect()
        };
        match &self.from {
            From::Sum(terms) => listed("sum", terms),
            From::WeightedMean(terms) => listed("weighted_mean", terms),
            From::Mean(refs) => vec![Input::many(From::MEAN, refs, PROMPT)],
            From::Between(Between { from, to, .. }) => {
                From::ENDS.into_iter().zip([from, to]).map(|(role, end)| Input::one(role, end, PROMPT)).collect()
            }
        }
    }

    fn check(&self) -> Result<(), Issue> {
        if self.task.as_ref().is_some_and(|task| task.trim().is_empty()) {
            return Err(Issue::new("task", "is empty, expected the name of a task"));
        }
        self.from.check()
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        let known = self.subjects(inputs);
        let name = self.task.clone().or_else(|| common(known.iter().map(|subject| Some(subject.name.clone()))))?;
        let seed = self.seed.map(|seed| seed.to_string());
        let run = seed.or_else(|| common(known.iter().map(|subject| subject.run.clone())));
        Some(Subject { name, run: Some(run.unwrap_or_else(|| "0".to_owned())), origin: None, source: None })
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        let weights = self.from.weights();
        let roles: Vec<&str> = weights.iter().map(|(role, _)| role.as_str()).collect();
        check_apart(&roles, inputs)?;
        let names: Vec<String> = self.subjects(inputs).into_iter().map(|subject| subject.name).collect();
        match names.iter().find(|name| **name != names[0]) {
            Some(other) if self.task.is_none() => Err(Issue::new("task", no_task(&names[0], other))),
            _ => Ok(()),
        }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let parts = self.parts(cx)?;
        check_backbones(&parts)?;
        let divisor = self.from.divisor(parts.len());
        let terms: Vec<(f64, &Prompt)> = parts.iter().map(|part| (part.weight, &part.prompt)).collect();
        let prompt = combination(&terms, divisor)?;
        if !self.allow_different_origins {
            check_beginnings(&parts)?;
        }
        let about = self.about(&parts, divisor)?;
        cx.write("prompt", &PromptFile::of(prompt, about).to_bytes())
    }
}

/// A prompt that is added up.
struct Part {
    weight: f64,
    prompt: Prompt,
    about: About,
    /// Of its artifact.
    digest: String,
    /// Where it is from.
    origin: String,
}

impl Combine {
    fn subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Vec<Subject> {
        let roles = self.from.weights().into_iter();
        roles.flat_map(|(role, _)| inputs(&role)).map(|known| known.subject).collect()
    }

    fn parts(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Part>> {
        let part = |role: &str, weight: f64, artifact: &Artifact| {
            let file = read(role, artifact, PromptFile::from_bytes)?;
            let shown = || format!("`{role}`: `{}`", artifact.origin());
            let prompt = file.prompt(file::PROMPT).with_context(shown)?.clone();
            let (digest, origin) = (artifact.digest.to_string(), artifact.origin());
            anyhow::Ok(Part { weight, prompt, about: file.about, digest, origin })
        };
        let mut parts = Vec::new();
        for (role, weight) in self.from.weights() {
            for artifact in cx.many(&role) {
                parts.push(part(&role, weight, artifact)?);
            }
        }
        Ok(parts)
    }

    /// What the result says of itself.
    fn about(&self, parts: &[Part], divisor: f64) -> anyhow::Result<About> {
        let task = self.task.clone().or_else(|| common(parts.iter().map(|part| part.about.task.clone())));
        if task.is_none() {
            let names: Vec<&str> = parts.iter().map(|part| part.about.task.as_deref().unwrap_or("?")).collect();
            let other = names.iter().find(|name| **name != names[0]).unwrap_or(&"?");
            bail!("`task` {}", no_task(names[0], other));
        }
        let seed = self.seed.or_else(|| common(parts.iter().map(|part| part.about.seed))).unwrap_or(0);
        let of = |field: fn(&About) -> Option<String>| common(parts.iter().map(|part| field(&part.about)));
        // It took no steps of its own, but all of those that it is made of.
        let spent = parts.iter().map(|part| part.about.steps_in_all()).sum::<Option<u64>>();
        let made_of: Vec<_> = parts
            .iter()
            .map(|part| json!({"prompt": part.about.name(), "digest": part.digest, "weight": part.weight / divisor}))
            .collect();
        Ok(About {
            task,
            seed: Some(seed),
            steps: spent.map(|_| 0),
            backbone: of(|about| about.backbone.clone()),
            base_model: of(|about| about.base_model.clone()),
            origin: of(|about| about.origin.clone()),
            source_steps: spent,
            made_of: Some(json!(made_of).to_string()),
            ..About::default()
        })
    }
}

/// What all of them are, if it is the same.
fn common<T: PartialEq>(mut all: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = all.next()??;
    all.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

fn no_task(one: &str, other: &str) -> String {
    format!("is missing, and the prompts are of several, `{one}` and `{other}`; expected the name of the result's task")
}

/// Checks that all are of one model, as far as they say of which; of those that spot tuned all have to say it.
fn check_backbones(parts: &[Part]) -> anyhow::Result<()> {
    let said: Vec<(&str, &About)> = parts.iter().map(|part| (part.origin.as_str(), &part.about)).collect();
    if let Some([(a, on_a), (b, on_b)]) = About::different_models(&said) {
        bail!(
            "`{a}` was tuned on the model {on_a:.40} and `{b}` on {on_b:.40}; prompts of different models cannot be added up"
        );
    }
    let (known, unknown): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.about.backbone.is_some());
    if let (Some(known), Some(unknown)) = (known.first(), unknown.first()) {
        bail!(
            "`{}` was tuned on the backbone {:.12}, and `{}` does not say on which; prompts of different models cannot be added up",
            known.origin,
            known.about.backbone.as_deref().unwrap_or_default(),
            unknown.origin
        );
    }
    Ok(())
}

/// Checks that all began, directly or through each other, at one place.
fn check_beginnings(parts: &[Part]) -> anyhow::Result<()> {
    let [first, rest @ ..] = parts else { return Ok(()) };
    let (mut near, mut left): (Vec<&Part>, Vec<&Part>) = (vec![first], rest.iter().collect());
    loop {
        let belongs =
            |part: &Part| near.iter().any(|other| other.digest == part.digest || other.about.begins_with(&part.about));
        let (found, others): (Vec<&Part>, Vec<&Part>) = left.into_iter().partition(|part| belongs(part));
        let Some(apart) = others.first() else { return Ok(()) };
        ensure!(
            !found.is_empty(),
            "`{}` and `{}` began independently, so row i of one has nothing to do with row i of the other, and their sum means \
             nothing; tune them with one `origin` or from one prompt, or say `allow_different_origins: true`",
            first.origin,
            apart.origin
        );
        near.extend(found);
        left = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn combine(from: &Value) -> Combine {
        serde_json::from_value(json!({"from": from})).unwrap()
    }

    #[test]
    fn weights_belong_to_roles() {
        let weights = |from: Value| combine(&from).from.weights();
        let expected =
            |pairs: &[(&str, f64)]| pairs.iter().map(|(role, w)| ((*role).to_owned(), *w)).collect::<Vec<_>>();
        let sum = json!({"sum": [{"prompt": "a"}, {"prompt": "b", "weight": -1}]});
        assert_eq!(weights(sum), expected(&[("from.sum[0].prompt", 1.0), ("from.sum[1].prompt", -1.0)]));
        let between = json!({"between": {"from": "a", "to": "b", "at": 0.25}});
        assert_eq!(weights(between.clone()), expected(&[("from.between.from", 0.75), ("from.between.to", 0.25)]));
        let means = combine(&json!({"weighted_mean": [{"prompt": "a", "weight": 3}, {"prompt": "b", "weight": 1}]}));
        assert_eq!(means.from.divisor(2), 4.0);
        assert_eq!(combine(&json!({"mean": "a[*]"})).from.divisor(5), 5.0);
        // Names of stages are no part of a recipe, weights are.
        let recipe = serde_json::to_value(combine(&between)).unwrap();
        assert_eq!(recipe, json!({"from": {"between": {"from": null, "to": null, "at": 0.25}}}));
    }

    #[test]
    fn weights_that_make_no_sense_are_refused() {
        let check = |from: Value, field: &str, message: &str| {
            let issue = combine(&from).check().unwrap_err();
            assert_eq!(issue.field, field, "{issue:?}");
            assert!(issue.message.contains(message), "{issue:?}");
        };
        check(json!({"sum": []}), "from.sum", "is empty");
        check(json!({"mean": []}), "from.mean", "is empty");
        check(json!({"weighted_mean": []}), "from.weighted_mean", "is empty");
        check(json!({"between": {"from": "a", "to": "b", "at": 1.5}}), "from.between.at", "`sum` with weights");
        let zero = json!({"weighted_mean": [{"prompt": "a"}, {"prompt": "b", "weight": 0}]});
        check(zero, "from.weighted_mean[1].weight", "is 0, expected a number above 0");
    }

    fn part(name: &str, about: About) -> Part {
        let prompt = Prompt { values: vec![1.0], width: 1 };
        let about = About { task: Some(name.to_owned()), seed: Some(0), ..about };
        Part { weight: 1.0, prompt, about, digest: name.to_owned(), origin: name.to_owned() }
    }

    #[test]
    fn prompts_belong_together_by_where_they_began() {
        let of_origin = |origin: &str| About { origin: Some(origin.to_owned()), ..About::default() };
        let from = |task: &str| About { source: Some(task.to_owned()), source_seed: Some(0), ..About::default() };
        let own = About::default;
        let check = |parts: &[Part]| check_beginnings(parts).map_err(|error| error.to_string());
        assert_eq!(check(&[part("a", of_origin("o")), part("b", of_origin("o"))]), Ok(()));
        assert_eq!(check(&[part("a", from("x")), part("b", from("x"))]), Ok(()));
        // x, what began from it, and what began from that, in any order.
        assert_eq!(check(&[part("c", from("b")), part("x", own()), part("b", from("x"))]), Ok(()));
        assert_eq!(check(&[part("a", own()), part("a", own())]), Ok(()), "a prompt goes with itself");
        let apart = check(&[part("a", of_origin("o")), part("b", of_origin("o")), part("c", own())]).unwrap_err();
        assert!(apart.starts_with("`a` and `c` began independently, so row i of one"), "{apart}");
        assert!(check(&[part("a", own()), part("b", own())]).is_err());
        assert!(check(&[part("a", of_origin("o")), part("b", of_origin("p"))]).is_err());
        let averages = || About { source: Some("average".to_owned()), ..About::default() };
        assert!(check(&[part("a", averages()), part("b", averages())]).is_err(), "an average says not of what");
    }

    #[test]
    fn prompts_of_different_models_are_not_added_up() {
        let of = |backbone: Option<&str>, base_model: Option<&str>| {
            let [backbone, base_model] = [backbone, base_model].map(|name| name.map(str::to_owned));
            part("a", About { backbone, base_model, ..About::default() })
        };
        let check = |a: Part, b: Part| check_backbones(&[a, b]).map_err(|error| error.to_string());
        assert_eq!(check(of(Some("d1"), None), of(Some("d1"), None)), Ok(()));
        assert_eq!(check(of(None, Some("org/t5")), of(None, Some("/models/t5/"))), Ok(()));
        assert_eq!(check(of(None, None), of(None, Some("org/t5"))), Ok(()), "nobody says that they differ");
        for (a, b) in [
            (of(Some("d1"), None), of(Some("d2"), None)),
            (of(None, Some("org/t5")), of(None, Some("org/mt5"))),
            (of(Some("d1"), None), of(None, None)),
        ] {
            assert!(check(a, b).unwrap_err().ends_with("prompts of different models cannot be added up"));
        }
    }

    #[test]
    fn what_the_result_says_is_what_all_prompts_say() {
        let about =
            |task: &str, steps| About { steps, origin: Some("o".to_owned()), ..part(task, About::default()).about };
        let parts = [part("a", about("a", Some(10))), part("b", about("b", Some(5)))];
        let made = |combine: &Combine, parts: &[Part]| combine.about(parts, 2.0);
        let mut mean = combine(&json!({"mean": ["a", "b"]}));
        let error = made(&mean, &parts).unwrap_err().to_string();
        assert!(error.starts_with("`task` is missing, and the prompts are of several, `a` and `b`"), "{error}");
        mean.task = Some("c".to_owned());
        let said = made(&mean, &parts).unwrap();
        assert_eq!((said.task.as_deref(), said.seed, said.origin.as_deref()), (Some("c"), Some(0), Some("o")));
        assert_eq!((said.steps, said.source_steps, said.steps_in_all()), (Some(0), Some(15), Some(15)));
        let expected = r#"[{"digest":"a","prompt":"a,0","weight":0.5},{"digest":"b","prompt":"b,0","weight":0.5}]"#;
        assert_eq!(said.made_of.as_deref(), Some(expected));
        // Nobody knows what one cost.
        let unknown = [part("a", about("a", Some(10))), part("b", about("b", None))];
        assert_eq!(made(&mean, &unknown).unwrap().steps_in_all(), None);
    }
}
