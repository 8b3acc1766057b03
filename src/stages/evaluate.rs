//! `evaluate`: what a prompt makes the frozen backbone say on a split, and how good that is. Several prompts of one task vote
//! (prompt ensembling, Lester et al. 2021); none leaves the model alone with the text, or with a prompt in words (prompt design).

use super::backbone::{self, Model};
use super::reading::read_all;
use super::{DATASET, PREDICTIONS, PROMPT, SCORES};
use crate::data::{Dataset, DatasetFile, Predictions, ScoresFile};
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Issue, Known, Needs, Output, Ref, Refs, Stage, Subject};
use crate::engine::store::digest::Digest;
use crate::ml;
use crate::ml::batcher::Client;
use crate::ml::generate::{Beam, Generation, Sample};
use crate::ml::generate::{check_apart, label_scores, likeliest as likeliest_of, predict};
use crate::ml::prompt::Prompt;
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::{self, PromptFile};
use crate::ml::random::Stream;
use crate::ml::tasks::{Answer, Example, Split};
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answers to a split under a prompt, and the task's metrics. A split without known answers has no metrics: it is for `predictions`,
/// which a `submission` or a `command` reads, and is refused where none does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The frozen model.
    backbone: Ref,
    /// The prompt; several of one task vote on every answer; without any the model reads the text alone.
    #[serde(default)]
    prompt: Refs,
    /// The task's examples.
    data: Ref,
    /// Which of them. Checkpoints are chosen on `validation`, so its scores are optimistic.
    #[serde(default = "validation")]
    split: Split,
    /// How answers are made. `greedy` by default, and so are checkpoints chosen.
    #[serde(default, skip_serializing_if = "Decoding::is_default")]
    decoding: Decoding,
    /// Words in front of every text instead of a soft prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    design: Option<Design>,
    /// Of examples that `design` shows; and of the run in reports where no single prompt tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

/// A prompt in words (Brown et al. 2020).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Design {
    /// An instruction.
    text: String,
    /// Number of training examples that are shown with their answers.
    shots: usize,
}

/// How answers are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoding {
    /// The most probable token at each step.
    #[default]
    Greedy,
    /// The most probable text that a beam search finds.
    Beam(Beam),
    /// Tokens drawn at random.
    Sample(Sample),
    /// The likeliest of the task's labels.
    Rank(Rank),
}

/// How labels are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rank {
    /// Compare mean log-likelihoods of a token, not their sums, so that long labels are not at a disadvantage.
    pub(super) per_token: bool,
}

impl Decoding {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Looks for contradictions; `field` is where it stands.
    ///
    /// # Errors
    /// The first number outside its range.
    pub(super) fn check(self, field: &str) -> Result<(), Issue> {
        let checked = self.generation().map_or(Ok(()), |generation| generation.check());
        checked.map_err(|error| Issue::new(field, error.to_string()))
    }

    /// How texts are generated, if they are.
    pub(super) fn generation(self) -> Option<Generation> {
        match self {
            Self::Greedy => Some(Generation::Greedy),
            Self::Beam(beam) => Some(Generation::Beam(beam)),
            Self::Sample(sample) => Some(Generation::Sample(sample)),
            Self::Rank(_) => None,
        }
    }
}

fn validation() -> Split {
    Split::Validation
}

impl Stage for Evaluate {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 5;
    const OUTPUTS: &'static [Output] =
        &[Output { name: "scores", of: SCORES }, Output { name: "predictions", of: PREDICTIONS }];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![backbone::input(&self.backbone)];
        if !self.prompt.0.is_empty() {
            inputs.push(Input::many("prompt", &self.prompt, PROMPT));
        }
        inputs.push(Input::one("data", &self.data, DATASET));
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        if self.design.is_some() && !self.prompt.0.is_empty() {
            return Err(Issue::new("design", "stands beside `prompt`; a soft prompt or words, not both"));
        }
        self.decoding.check("decoding")
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        // As the scores say it: one prompt tells seed and source, several have none in common.
        let prompt = match &mut inputs("prompt")[..] {
            [one] => std::mem::take(&mut one.subject),
            _ => Subject::default(),
        };
        let run = self.seed.map(|seed| seed.to_string()).or(prompt.run);
        let data = inputs("data").pop()?.subject;
        Some(Subject { run, source: prompt.source, ..data })
    }

    fn needs(&self) -> Needs {
        Needs { shared_model: Some("backbone"), ..Needs::default() }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let backbone = cx.one("backbone")?;
        let model = Model::load(cx, backbone)?;
        let file = DatasetFile::open(cx.one("data")?.open()?).context("`data`")?;
        model.check_tokenizer(&file.task.name, file.tokenizer.as_deref())?;
        let mut dataset = file.read_to_answer(self.split).context("`data`")?;
        model.check_data(&dataset)?;
        let answered = answered(dataset.examples(self.split));
        if let Some(design) = &self.design {
            design.apply(&file, &mut dataset, self.split, &model, self.seed.unwrap_or(0))?;
        }
        let files = prompts(cx, &model, &backbone.digest.to_string())?;
        let examples = dataset.examples(self.split);
        ensure!(!examples.is_empty(), "the data set of `{}` has no {} split", dataset.task.name, self.split.name());
        if !dataset.has_answers(self.split) {
            self.check_hidden(cx, &dataset)?;
        }
        let answers = self.answers(cx, &model, &files, &dataset)?;
        let scores = dataset.task.score(&answers, examples);

        let said: Vec<&(String, usize)> = scores.predicted.iter().filter(|(_, count)| *count > 0).collect();
        if let ([(label, _)], true, 0) = (said.as_slice(), scores.predicted.len() > 1, scores.illegal) {
            cx.progress().warn(&format!("every answer is `{label}`: nothing was learned but one label"));
        }
        let known = examples.iter().filter(|example| dataset.task.knows(example)).count();
        if (1..examples.len()).contains(&known) {
            let (hidden, all) = (examples.len() - known, examples.len());
            cx.progress().warn(&format!("{hidden} of {all} examples hide their answers and are not scored"));
        }
        let common = file.most_common_target(Split::Train, cx.scratch()?).context("`data`")?.unwrap_or_default();
        // The score of always giving the training split's most common answer (its mean, where answers are numbers).
        let majority = dataset.task.score(&vec![common; examples.len()], examples).score;
        // One prompt says where it comes from; several have nothing of that in common.
        let About { seed, source, source_seed, step, score: validation, .. } = match &files[..] {
            [file] => file.about.clone(),
            _ => About::default(),
        };
        let measured = ScoresFile {
            task: dataset.task.name.clone(),
            split: self.split,
            metrics: scores.metrics,
            score: scores.score,
            examples: if known > 0 { known } else { examples.len() },
            answered,
            illegal: scores.illegal,
            predicted: scores.predicted,
            majority,
            prompts: files.len(),
            seed: self.seed.or(seed),
            source,
            source_seed,
            step,
            validation,
            steps: sum(&files, |about| about.steps),
            source_steps: sum(&files, |about| about.source_steps),
        };
        cx.write("scores", &measured.to_parquet()?)?;

        let text = |f: fn(&Example) -> &String| examples.iter().map(|example| f(example).clone()).collect();
        let predictions = Predictions {
            task: dataset.task.name.clone(),
            published: dataset.task.format.as_ref().unwrap_or(&dataset.task.name).clone(),
            split: self.split,
            seed: self.seed.or(seed),
            ids: text(|example| &example.id),
            inputs: text(|example| &example.input),
            targets: text(|example| &example.target),
            answers,
        };
        cx.write("predictions", &predictions.into_parquet()?)
    }
}

impl Evaluate {
    /// The evaluation of one prompt on the validation split; whoever asks for it says what it reads.
    pub(super) fn on_validation(decoding: Decoding) -> Self {
        Self {
            backbone: Ref::default(),
            prompt: Refs(vec![Ref::default()]),
            data: Ref::default(),
            split: Split::Validation,
            decoding,
            design: None,
            seed: None,
        }
    }

    /// Nothing can be scored where answers are hidden, and what was predicted must be for somebody.
    fn check_hidden(&self, cx: &Cx<'_>, dataset: &Dataset) -> anyhow::Result<()> {
        let (split, task) = (self.split.name(), &dataset.task.name);
        let hidden = format!("the answers to the {split} split of `{task}` are hidden, so there is nothing to score");
        ensure!(
            cx.is_read_of_stage("predictions"),
            "{hidden}; name `{}.predictions` in a `submission`, or evaluate a split with answers (`split: validation`, or \
             `hold_out` of the data set)",
            cx.job()
        );
        ensure!(
            !cx.is_read("scores"),
            "{hidden}, but another stage reads `{}.scores`; its `predictions` are for a `submission`, and scores are of a split with \
             answers",
            cx.job()
        );
        Ok(())
    }

    /// The answers of the one prompt; of several, the most common to each example, and of equally common ones that of the
    /// prompt whose name comes first. All prompts ask the model at once, which computes them in common batches.
    fn answers(
        &self,
        cx: &Cx<'_>,
        model: &Model,
        files: &[PromptFile],
        dataset: &Dataset,
    ) -> anyhow::Result<Vec<String>> {
        let backbone = cx.one("backbone")?;
        let none = Prompt { values: Vec::new(), width: model.weights.dims.width };
        let prompts = if files.is_empty() {
            vec![&none]
        } else {
            files.iter().map(|file| Ok(file.prompt(file::PROMPT)?)).collect::<anyhow::Result<_>>()?
        };
        let clients = prompts.iter().map(|_| model.client(cx, backbone)).collect::<anyhow::Result<Vec<_>>>()?;
        let votes = std::thread::scope(|scope| {
            let ask = |(prompt, client)| {
                scope.spawn(move || answers(client, model, prompt, dataset, self.split, self.decoding))
            };
            let asked: Vec<_> = prompts.into_iter().zip(&clients).map(ask).collect();
            asked
                .into_iter()
                .map(|asked| asked.join().expect("answering does not panic"))
                .collect::<anyhow::Result<Vec<_>>>()
        })?;
        Ok(majority_vote(votes))
    }
}

/// Updates of all prompts together; `None` if there is none or one does not say.
fn sum(files: &[PromptFile], steps: fn(&About) -> Option<u64>) -> Option<u64> {
    (!files.is_empty()).then(|| files.iter().map(|file| steps(&file.about)).sum())?
}

/// Which examples are answered: a digest of their ids and targets, whatever is put before their inputs.
fn answered(examples: &[Example]) -> String {
    let mut bytes = Vec::new();
    for text in examples.iter().flat_map(|example| [&example.id, &example.target]) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    Digest::of(&bytes).to_string()
}

/// Several prompts must be of one task.
fn prompts(cx: &Cx<'_>, model: &Model, backbone: &str) -> anyhow::Result<Vec<PromptFile>> {
    let checked = |bytes: &[u8]| -> ml::error::Result<PromptFile> {
        let file = PromptFile::from_bytes(bytes)?;
        file.about.check_backbone(backbone)?;
        file.prompt(file::PROMPT)?.fits(model.weights.dims.width)?;
        file.about.identity()?;
        Ok(file)
    };
    let mut files = read_all(cx, "prompt", checked)?;
    files.sort_by_key(|file| file.about.name());
    if let Some([one, other]) = files.array_windows().find(|[one, other]| one.about.task != other.about.task) {
        let task = |file: &PromptFile| file.about.task.clone().unwrap_or_default();
        let (one, other) = (task(one), task(other));
        bail!("`prompt` has prompts of `{one}` and of `{other}`; only prompts of one task can vote");
    }
    Ok(files)
}

/// The most common answer to every example; of equally common ones the first.
fn majority_vote(mut votes: Vec<Vec<String>>) -> Vec<String> {
    if votes.len() == 1 {
        return votes.remove(0);
    }
    let examples = votes.first().map_or(0, Vec::len);
    let elected = |example: usize| {
        let ballot = || votes.iter().map(|answers| &answers[example]);
        let count = |answer: &String| ballot().filter(|other| *other == answer).count();
        ballot().rev().max_by_key(|answer| count(answer)).cloned().unwrap_or_default()
    };
    (0..examples).map(elected).collect()
}

/// Ids of a text with its prompt in words.
const LONGEST: usize = 4096;

impl Design {
    /// Puts the words in front of every text of a split: the instruction, the shown examples with their answers, the text.
    fn apply(
        &self,
        file: &DatasetFile,
        dataset: &mut Dataset,
        split: Split,
        model: &Model,
        seed: u64,
    ) -> anyhow::Result<()> {
        let (shots, rows) = (self.shots, file.count(Split::Train));
        ensure!(shots <= rows, "`design.shots` is {shots}, but `{}` has {rows} training examples", dataset.task.name);
        let mut words = self.text.clone();
        let shown = Stream::new(seed, "shots").sample(rows, shots);
        for (input, target) in file.texts(Split::Train, &shown).context("`data`")? {
            words += &format!(" {input} {target}");
        }
        for part in dataset.parts.iter_mut().filter(|part| part.split == split) {
            for (example, tokens) in part.examples.iter_mut().zip(&mut part.tokens) {
                example.input = format!("{words} {}", example.input).trim_start().to_owned();
                tokens.input = model.tokens.encode(&example.input, LONGEST)?;
                ensure!(
                    tokens.input.len() < LONGEST,
                    "with its prompt in words the text `{}` has {LONGEST} tokens or more; show fewer examples",
                    example.id
                );
            }
        }
        Ok(())
    }
}

/// Ids beyond the longest target by which an answer may overrun before it is cut.
pub const OVERRUN: usize = 4;

/// Answers to a split as text.
///
/// # Errors
/// If the data set lacks what the decoding needs, such as labels, or the device fails.
pub fn answers(
    client: &Client,
    model: &Model,
    prompt: &Prompt,
    dataset: &Dataset,
    split: Split,
    decoding: Decoding,
) -> anyhow::Result<Vec<String>> {
    let inputs: Vec<&[u32]> = dataset.pairs(split).map(|(input, _)| input).collect();
    if let Decoding::Rank(rank) = decoding {
        return likeliest(client, model, prompt, dataset, split, &inputs, rank);
    }
    let generation = decoding.generation().unwrap_or_default();
    let longest = longest(dataset, split, model)? + OVERRUN;
    let streams: Vec<u64> = (0..inputs.len() as u64).collect();
    let decoded = predict(client, prompt, &inputs, &streams, longest, generation)?;
    decoded.iter().map(|ids| Ok(model.tokens.decode(ids)?)).collect()
}

/// Ids of the longest answer that a split may have: of its targets or, where they are hidden, of those of the splits that have
/// answers and of the labels.
fn longest(dataset: &Dataset, split: Split, model: &Model) -> anyhow::Result<usize> {
    let of = |split| dataset.pairs(split).map(|(_, target)| target.len());
    if dataset.has_answers(split) {
        return Ok(of(split).max().unwrap_or(1));
    }
    let mut lengths: Vec<usize> =
        Split::ALL.into_iter().filter(|split| dataset.has_answers(*split)).flat_map(of).collect();
    for label in &dataset.task.labels {
        lengths.push(model.tokens.encode(label, usize::MAX)?.len());
    }
    lengths.into_iter().max().with_context(|| {
        format!(
            "no split of `{}` has answers, which would say how long those that are hidden may be",
            dataset.task.name
        )
    })
}

/// For each input the likeliest label of the task; of equally likely ones the first.
fn likeliest(
    client: &Client,
    model: &Model,
    prompt: &Prompt,
    dataset: &Dataset,
    split: Split,
    inputs: &[&[u32]],
    rank: Rank,
) -> anyhow::Result<Vec<String>> {
    let task = &dataset.task;
    if task.answer == Answer::Choice {
        let rows = dataset.examples(split).iter().zip(inputs);
        return rows.map(|(example, input)| likeliest_choice(client, model, prompt, example, input, rank)).collect();
    }
    ensure!(
        !task.labels.is_empty(),
        "`decoding: rank` compares labels, but the task `{}` has none; its answers are free text",
        task.name
    );
    let labels =
        task.labels.iter().map(|label| model.tokens.encode(label, usize::MAX)).collect::<Result<Vec<_>, _>>()?;
    check_apart(&task.labels, &labels)?;
    let scores = label_scores(client, prompt, inputs, &labels)?;
    scores.iter().map(|scores| Ok(task.labels[likeliest_of(scores, rank.per_token)?].clone())).collect()
}

/// The likeliest of the choices that an example brings; of equally likely ones the first.
fn likeliest_choice(
    client: &Client,
    model: &Model,
    prompt: &Prompt,
    example: &Example,
    input: &[u32],
    rank: Rank,
) -> anyhow::Result<String> {
    let of_example = || format!("example `{}`", example.id);
    let encoded = example.choices.iter().map(|choice| model.tokens.encode(choice, usize::MAX));
    let choices = encoded.collect::<Result<Vec<_>, _>>().with_context(of_example)?;
    check_apart(&example.choices, &choices).with_context(of_example)?;
    let scores = label_scores(client, prompt, &[input], &choices)?;
    let best = likeliest_of(scores.first().map_or(&[], Vec::as_slice), rank.per_token).with_context(of_example)?;
    Ok(example.choices[best].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_common_answer_wins_and_of_equal_ones_the_first() {
        let vote = |answers: &[[&str; 2]]| {
            majority_vote(answers.iter().map(|row| row.map(str::to_owned).to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(vote(&[["a", "b"], ["b", "a"], ["b", "c"]]), ["b", "b"]);
        assert_eq!(vote(&[["x", "y"]]), ["x", "y"]);
    }
}
