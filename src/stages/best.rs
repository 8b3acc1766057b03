//! `best`: one of several prompts of a task, the one that scores most on the validation split: what a sweep over settings feeds to
//! the stages below it.
//!
//! The chosen prompt is handed on byte for byte, so that stages below see only which one it is: while the choice stays the same they
//! stay fresh, whatever candidates come and go, and what was computed of the candidate itself is found again.

use super::evaluate::{Decoding, Evaluate};
use super::names::check_apart;
use super::reading::read;
use super::{BACKBONE, CANDIDATES, DATASET, PROMPT, SCORES};
use crate::data::{Candidate, Candidates, ScoresFile};
use crate::engine::context::{Artifact, Cx, Expanded};
use crate::engine::stage::{Input, Issue, Known, Output, Ref, Refs, Spec, Stage, Subject};
use crate::ml::metrics::Metric;
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::PromptFile;
use crate::ml::statistics::mean;
use crate::ml::tasks::Split;
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The prompt with the highest validation score among several of one task, byte for byte; of equal ones that with the fewest updates, then
/// the lowest seed, then the lowest digest. The highest score of many is optimistic, the more so the more there are: report the score
/// of another split, by an `evaluate` of this stage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The candidates: `tuning[*]`.
    prompts: Refs,
    /// The split on which they are compared. Only `validation` is taken: what was chosen by its score on a split is not tested by it.
    #[serde(default = "validation", skip_serializing_if = "is_validation")]
    split: Split,
    /// By what they are compared. Without it by the score that each tuning measured of its own prompt, the mean of the task's
    /// metrics on the validation split of the tuning's own data set; say it where these data sets differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scored_on: Option<ScoredOn>,
}

/// How candidates are evaluated for their comparison. The evaluations are jobs of the kind `evaluate`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScoredOn {
    /// The frozen model.
    backbone: Ref,
    /// The task's examples, of which those of the validation split are answered.
    data: Ref,
    /// By which metric they are compared; by the mean of the task's metrics without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metric: Option<Metric>,
    /// How answers are made.
    #[serde(default, skip_serializing_if = "Decoding::is_default")]
    decoding: Decoding,
}

/// The mean of a task's metrics, as files of scores call it.
const SCORE: &str = "score";

fn validation() -> Split {
    Split::Validation
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_validation(split: &Split) -> bool {
    *split == Split::Validation
}

impl Stage for Best {
    const KIND: &'static str = "best";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] =
        &[Output { name: "prompt", of: PROMPT }, Output { name: "candidates", of: CANDIDATES }];
    const EXPANDS: bool = true;

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::many("prompts", &self.prompts, PROMPT)];
        if let Some(ScoredOn { backbone, data, .. }) = &self.scored_on {
            inputs.push(Input::one("scored_on.backbone", backbone, BACKBONE));
            inputs.push(Input::one("scored_on.data", data, DATASET));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        if self.prompts.0.is_empty() {
            return Err(Issue::new("prompts", "is empty, expected one candidate at least"));
        }
        if self.split != Split::Validation {
            let message = format!(
                "is `{0}`, expected `validation`: a score on `{0}` by which a prompt was chosen says nothing of it on new examples; \
                 choose on `validation`, and report an `evaluate` of this stage on `{0}` beside it",
                self.split.name()
            );
            return Err(Issue::new("split", message));
        }
        self.scored_on.as_ref().map_or(Ok(()), |on| on.decoding.check("scored_on.decoding"))
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        let subjects: Vec<Subject> = inputs("prompts").into_iter().map(|known| known.subject).collect();
        let (first, rest) = subjects.split_first()?;
        // Which one it is only running tells: of it is known what is true of all.
        let common = |same: &dyn Fn(&Subject) -> bool| rest.iter().all(same);
        common(&|other| other.name == first.name).then(|| Subject {
            name: first.name.clone(),
            run: first.run.clone().filter(|_| common(&|other| other.run == first.run)),
            origin: first.origin.clone().filter(|_| common(&|other| other.origin == first.origin)),
            source: first.source.clone().filter(|_| common(&|other| other.source == first.source)),
        })
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_apart(&["prompts"], inputs)?;
        let known = inputs("prompts");
        let Some((first, rest)) = known.split_first() else { return Ok(()) };
        match rest.iter().find(|other| other.subject.name != first.subject.name) {
            Some(other) if self.scored_on.is_none() => {
                let said = |known: &Known| (known.job.clone(), known.subject.name.clone());
                Err(Issue::new("prompts", tasks_differ(&said(first), &said(other))))
            }
            _ => Ok(()),
        }
    }

    fn expands_to_at_most(&self, inputs: &dyn Fn(&str) -> usize) -> usize {
        if self.scored_on.is_some() { inputs("prompts") } else { 0 }
    }

    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        let Some(on) = &self.scored_on else { return Ok(Vec::new()) };
        let (backbone, data) = (cx.one("scored_on.backbone")?, cx.one("scored_on.data")?);
        let evaluation = |prompt: &Artifact| Spec {
            name: maker(prompt),
            job: Box::new(Evaluate::on_validation(on.decoding)),
            inputs: [("backbone", backbone), ("prompt", prompt), ("data", data)]
                .map(|(role, artifact)| (role.to_owned(), artifact.clone().into()))
                .into(),
        };
        Ok(cx.many("prompts").into_iter().map(evaluation).collect())
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let prompts = cx.many("prompts");
        let abouts = prompts
            .iter()
            .map(|prompt| read("prompts", prompt, PromptFile::about_in))
            .collect::<anyhow::Result<Vec<About>>>()?;
        let Compared { task, scores } = self.compared(cx, &prompts, &abouts)?;
        check_scores(prompts.iter().map(|prompt| prompt.origin()).zip(&scores))?;
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        // Candidates are in the order of their digests, which a stable sort leaves to equal ones.
        let cost = |at: usize| (abouts[at].steps_in_all().unwrap_or(u64::MAX), abouts[at].seed);
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then_with(|| cost(*a).cmp(&cost(*b))));
        let row = |at: &usize| Candidate {
            prompt: prompts[*at].digest.to_string(),
            seed: abouts[*at].seed,
            step: abouts[*at].step,
            steps: abouts[*at].steps,
            source_steps: abouts[*at].source_steps,
            validation: scores[*at],
        };
        let table = Candidates { task, metric: self.metric().to_owned(), rows: order.iter().map(row).collect() };
        let chosen = prompts[*order.first().context("`prompts` names no prompt")?].clone();
        let told = in_words(&chosen, &table);
        cx.progress().say(&told);
        cx.note("chosen", told);
        cx.write("candidates", &table.to_parquet()?)?;
        cx.write("prompt", &chosen.bytes()?)
    }
}

/// What candidates are compared by.
struct Compared {
    /// The task whose score it is.
    task: String,
    /// Of each candidate.
    scores: Vec<f64>,
}

impl Best {
    /// The name of what candidates are compared by.
    fn metric(&self) -> &'static str {
        let metric = self.scored_on.as_ref().and_then(|on| on.metric);
        metric.map_or(SCORE, Metric::name)
    }

    /// What every candidate scores on the validation split.
    fn compared(&self, cx: &Cx<'_>, prompts: &[&Artifact], abouts: &[About]) -> anyhow::Result<Compared> {
        let Some(on) = &self.scored_on else {
            let task = common_task(prompts, abouts)?.to_owned();
            let scores = prompts.iter().zip(abouts).map(|(prompt, about)| own_score(prompt, about));
            return Ok(Compared { task, scores: scores.collect::<anyhow::Result<_>>()? });
        };
        let measured =
            cx.expanded().iter().map(|evaluation| on.measured(evaluation)).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(measured.len() == prompts.len(), "{} evaluations of {} candidates", measured.len(), prompts.len());
        let task = measured.first().map_or_else(String::new, |(task, _)| task.clone());
        Ok(Compared { task, scores: measured.into_iter().map(|(_, score)| score).collect() })
    }
}

impl ScoredOn {
    /// The task of an evaluation, and what it says by the metric.
    fn measured(&self, evaluation: &Expanded) -> anyhow::Result<(String, f64)> {
        let scores = evaluation.outputs.iter().find(|(name, _)| &**name == SCORES.name());
        let (_, scores) = scores.context("an evaluation without scores")?;
        let ScoresFile { task, metrics, score, .. } = read("scored_on", scores, ScoresFile::from_parquet)?;
        let found = match self.metric {
            None => score,
            Some(metric) => metrics.iter().find(|(known, _)| *known == metric).map(|(_, value)| *value),
        };
        let found = found.with_context(|| match (self.metric, metrics.is_empty()) {
            (Some(metric), false) => {
                let names: Vec<String> = metrics.iter().map(|(metric, _)| format!("`{}`", metric.name())).collect();
                format!(
                    "`scored_on.metric` is `{}`, but the metrics of the task `{task}` are {}; name one of these, or leave it out for \
                     their mean",
                    metric.name(),
                    names.join(", ")
                )
            }
            _ => format!("`scored_on.data`: the task `{task}` has no metric to compare by; name a data set with answers"),
        })?;
        Ok((task, found))
    }
}

/// The job that made a candidate.
fn maker(prompt: &Artifact) -> String {
    let origin = prompt.origin();
    origin.strip_suffix(".prompt").map_or_else(|| origin.clone(), str::to_owned)
}

/// The score by which a tuning chose the checkpoint that is its prompt.
fn own_score(prompt: &Artifact, about: &About) -> anyhow::Result<f64> {
    about.score.with_context(|| {
        format!(
            "`prompts`: `{}` does not say what it scored on the validation split, as no tuning chose it there; name the data set on \
             which candidates are compared in `scored_on`",
            prompt.origin()
        )
    })
}

/// Whether every score is one by which prompts can be compared: a file says what it likes.
fn check_scores<'a>(mut scores: impl Iterator<Item = (String, &'a f64)>) -> anyhow::Result<()> {
    match scores.find(|(_, score)| !score.is_finite()) {
        Some((origin, score)) => bail!("`prompts`: `{origin}` says that it scored {score}, expected a number"),
        None => Ok(()),
    }
}

/// The task that all candidates are of; they must be of one model, too.
fn common_task<'a>(prompts: &[&Artifact], abouts: &'a [About]) -> anyhow::Result<&'a str> {
    let origins: Vec<String> = prompts.iter().map(|prompt| maker(prompt)).collect();
    let mut tasks = origins.iter().zip(abouts).map(|(origin, about)| {
        let task =
            about.task.as_deref().with_context(|| format!("`prompts`: `{origin}` does not say of which task it is"))?;
        anyhow::Ok((origin.clone(), task))
    });
    let (origin, first) = tasks.next().context("`prompts` names no prompt")??;
    for other in tasks {
        let (other, task) = other?;
        let said = || tasks_differ(&(origin.clone(), first.to_owned()), &(other.clone(), task.to_owned()));
        ensure!(task == first, "`prompts` {}", said());
    }
    let said: Vec<(&str, &About)> = origins.iter().map(String::as_str).zip(abouts).collect();
    if let Some([(a, on_a), (b, on_b)]) = About::different_models(&said) {
        bail!(
            "`prompts`: `{a}` was tuned on the model {on_a:.40} and `{b}` on {on_b:.40}; the candidates must be of one model, which \
             alone reads them"
        );
    }
    Ok(first)
}

/// What is wrong with two candidates, each a job and its task.
fn tasks_differ((a, of_a): &(String, String), (b, of_b): &(String, String)) -> String {
    format!(
        "are of several tasks, `{a}` of `{of_a}` and `{b}` of `{of_b}`, whose own scores cannot be compared; choose within each task, by \
         a `matrix` over tasks, or name the data set on which all are compared in `scored_on`"
    )
}

/// Which was chosen and by what; and, where others scored as much, why not one of these.
fn in_words(chosen: &Artifact, all: &Candidates) -> String {
    let scores: Vec<f64> = all.rows.iter().map(|row| row.validation).collect();
    let (n, best) = (scores.len(), scores.first().copied().unwrap_or(f64::NAN));
    let told = format!(
        "`{}` is the best of {n} by {} on validation: {best:.1}, where the mean of all is {:.1}",
        maker(chosen),
        all.metric,
        mean(&scores)
    );
    match all.equals() {
        0 | 1 => told,
        equals => format!(
            "{told}; {equals} score the same, and of these it has the fewest updates, then the lowest seed, then the lowest digest"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn best(fields: &Value) -> Best {
        serde_json::from_value(fields.clone()).unwrap()
    }

    #[test]
    fn what_is_no_score_is_not_the_best_one() {
        let check =
            |score: f64| check_scores([("a.prompt".to_owned(), &1.0), ("b.prompt".to_owned(), &score)].into_iter());
        assert!(check(-1.0).is_ok());
        for score in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = check(score).unwrap_err().to_string();
            assert!(error.starts_with("`prompts`: `b.prompt` says that it scored "), "{error}");
        }
    }

    #[test]
    fn a_recipe_has_how_candidates_are_compared_and_nothing_else() {
        let recipe = |fields: Value| serde_json::to_value(best(&fields)).unwrap();
        assert_eq!(recipe(json!({"prompts": "a[*]"})), json!({"prompts": null}));
        assert_eq!(recipe(json!({"prompts": ["b", "c"], "split": "validation"})), json!({"prompts": null}));
        let on = json!({"prompts": "a[*]", "scored_on": {"backbone": "m", "data": "d", "metric": "f1"}});
        let expected = json!({"prompts": null, "scored_on": {"backbone": null, "data": null, "metric": "f1"}});
        assert_eq!(recipe(on), expected);
    }

    #[test]
    fn choosing_on_a_split_that_is_reported_is_refused() {
        for split in ["test", "train"] {
            let issue = best(&json!({"prompts": "a[*]", "split": split})).check().unwrap_err();
            assert_eq!(issue.field, "split");
            assert!(issue.message.starts_with(&format!("is `{split}`, expected `validation`: ")), "{issue:?}");
        }
        assert_eq!(best(&json!({"prompts": []})).check().unwrap_err().field, "prompts");
        assert_eq!(best(&json!({"prompts": "a[*]", "split": "validation"})).check(), Ok(()));
    }

    #[test]
    fn of_the_chosen_is_known_what_is_true_of_all_candidates() {
        let known = |job: &str, name: &str, run: &str, origin: &str| {
            let subject = Subject {
                name: name.to_owned(),
                run: Some(run.to_owned()),
                origin: Some(origin.to_owned()),
                source: None,
            };
            Known { job: job.to_owned(), subject }
        };
        let best = best(&json!({"prompts": "t[*]"}));
        let subject = |all: &[Known]| best.subject(&|role| if role == "prompts" { all.to_vec() } else { Vec::new() });
        let check =
            |all: &[Known]| best.check_subjects(&|role| if role == "prompts" { all.to_vec() } else { Vec::new() });
        let of_seeds = [known("t[0]", "rte", "0", "glue"), known("t[1]", "rte", "1", "glue")];
        let of_rates = [known("t[0.1]", "rte", "0", "glue"), known("t[0.3]", "rte", "0", "glue")];
        assert_eq!(subject(&of_seeds).unwrap().run, None);
        assert_eq!(subject(&of_rates).unwrap(), of_rates[0].subject);
        assert_eq!(check(&of_seeds), Ok(()));
        let issue = check(&[known("t[0]", "rte", "0", "glue"), known("t[1]", "cb", "0", "cb")]).unwrap_err();
        assert!(issue.message.starts_with("are of several tasks, `t[0]` of `rte` and `t[1]` of `cb`"), "{issue:?}");
        assert_eq!(subject(&[]), None);
        assert_eq!(check(&[]), Ok(()));
    }
}
