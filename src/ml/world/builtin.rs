//! The built-in tasks: sources with many rows, and low-resource targets that share a skill with one of them.

use super::event::{self, Event, Relation};
use super::labels::{join, written};
use super::lexicon::{CATEGORIES, NUMBERS};
use super::opinion::{self, Matter};
use super::scene::{Count, Scene};
use super::skill::{Parts, category_of, similarity_number};
use super::{VERSION, cause, grammar, sense};
use crate::ml::random::Stream;
use crate::ml::tasks::{Answer, Example, Metric, Spacing, Split, Task};
use std::collections::HashSet;

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Prompts are learnt on it to be transferred.
    Source,
    /// Low-resource; a prompt of a related source should help.
    Target,
}

/// A built-in task.
pub struct Builtin {
    /// Short name, which is also the prefix of its inputs where prefixes are on.
    pub name: &'static str,
    /// What it is for.
    pub role: Role,
    /// The source whose skill it needs; its own name for a source.
    pub family: &'static str,
    /// The skill of [`SKILLS`](super::SKILLS) behind it.
    pub skill: &'static str,
    /// Default number of training rows.
    pub train: usize,
    /// Default number of validation rows.
    pub validation: usize,
    /// Default number of test rows.
    pub test: usize,
    /// Names of the fields of an input, in order.
    pub fields: &'static [&'static str],
    /// Label words in the order of the label ids; empty for open answers.
    pub labels: &'static [&'static str],
    answer: Answer,
    metrics: &'static [Metric],
    draw: Draw,
}

enum Draw {
    /// Texts for a label id.
    Label(fn(&mut Stream, usize) -> Parts),
    /// Texts and answer.
    Open(fn(&mut Stream) -> (Parts, String)),
}

/// Draws without a new input after which a task is taken to be exhausted.
const PATIENCE: usize = 20_000;

const ACCURACY: &[Metric] = &[Metric::Accuracy];
const F1_ACCURACY: &[Metric] = &[Metric::F1, Metric::Accuracy];
const SPAN: &[Metric] = &[Metric::ExactMatch, Metric::TokenF1];

/// What most sources share.
const SOURCE: Builtin = Builtin {
    name: "",
    role: Role::Source,
    family: "",
    skill: "",
    train: 4000,
    validation: 400,
    test: 500,
    fields: &[],
    labels: &[],
    answer: Answer::Label,
    metrics: ACCURACY,
    draw: Draw::Label(|_, _| Parts::new()),
};

/// What most targets share.
const TARGET: Builtin = Builtin { role: Role::Target, train: 60, validation: 200, test: 400, ..SOURCE };

static TASKS: [Builtin; 20] = [
    Builtin {
        name: "w_senti",
        family: "w_senti",
        skill: "feeling",
        fields: &["sentence"],
        labels: &["negative", "positive"],
        draw: Draw::Label(|stream, label| vec![opinion::sentence(stream, Matter::Work, label == 1, 0.3)]),
        ..SOURCE
    },
    Builtin {
        name: "w_nli",
        family: "w_nli",
        skill: "relation",
        fields: &["premise", "hypothesis"],
        labels: &["entailment", "neutral", "contradiction"],
        draw: Draw::Label(|stream, label| event::inference(stream, Relation::ALL[label]).into()),
        ..SOURCE
    },
    Builtin {
        name: "w_para",
        family: "w_para",
        skill: "same",
        fields: &["question1", "question2"],
        labels: &["not_duplicate", "duplicate"],
        metrics: F1_ACCURACY,
        draw: Draw::Label(|stream, label| event::paraphrase(stream, label == 1, false).into()),
        ..SOURCE
    },
    Builtin {
        name: "w_topic",
        family: "w_topic",
        skill: "kind",
        train: 2000,
        fields: &["document"],
        labels: &CATEGORIES,
        draw: Draw::Label(|stream, label| vec![Event::draw(stream).with_category(stream, label).say()]),
        ..SOURCE
    },
    Builtin {
        name: "w_qa",
        family: "w_qa",
        skill: "answer",
        fields: &["question", "context"],
        answer: Answer::Text,
        metrics: SPAN,
        draw: Draw::Open(|stream| {
            let scene = Scene::draw(stream);
            let (question, answer) = scene.question(stream);
            (vec![question, scene.say()], answer.to_owned())
        }),
        ..SOURCE
    },
    Builtin {
        name: "w_fact",
        family: "w_fact",
        skill: "fact",
        fields: &["passage", "question"],
        labels: &["no", "yes"],
        draw: Draw::Label(|stream, label| {
            let scene = Scene::draw(stream);
            vec![scene.say(), scene.yes_no(stream, label == 1)]
        }),
        ..SOURCE
    },
    Builtin {
        name: "w_sum",
        family: "w_sum",
        skill: "sum",
        train: 3000,
        fields: &["story"],
        labels: NUMBERS.split_at(2).1,
        draw: Draw::Label(|stream, label| vec![Count::with_total(stream, label + 2).say("has")]),
        ..SOURCE
    },
    Builtin {
        name: "w_accept",
        family: "w_accept",
        skill: "accept",
        fields: &["sentence"],
        labels: &["unacceptable", "acceptable"],
        metrics: &[Metric::Matthews],
        draw: Draw::Label(|stream, label| vec![grammar::sentence(stream, label == 1)]),
        ..SOURCE
    },
    Builtin {
        name: "w_sts",
        family: "w_sts",
        skill: "similarity",
        fields: &["sentence1", "sentence2"],
        answer: Answer::Number,
        metrics: &[Metric::Pearson, Metric::Spearman],
        draw: Draw::Open(|stream| {
            let agreeing = stream.below(6);
            let (pair, halves) = event::similarity(stream, agreeing);
            (pair.into(), similarity_number(halves))
        }),
        ..SOURCE
    },
    Builtin {
        name: "w_sense",
        family: "w_sense",
        skill: "meaning",
        train: 2000,
        fields: &["sentence", "word"],
        labels: &sense::KINDS,
        draw: Draw::Label(|stream, label| {
            let (word, sentence) = sense::usage_of_kind(stream, sense::KINDS[label]);
            vec![sentence, word.to_owned()]
        }),
        ..SOURCE
    },
    Builtin {
        name: "w_cause",
        family: "w_cause",
        skill: "cause",
        train: 2000,
        fields: &["premise", "hypothesis"],
        labels: &["wrong", "right"],
        draw: Draw::Label(|stream, label| cause::pair(stream, label == 1).into()),
        ..SOURCE
    },
    Builtin {
        name: "w_mood",
        family: "w_senti",
        skill: "feeling",
        train: 40,
        fields: &["text"],
        labels: &["bad", "good"],
        draw: Draw::Label(|stream, label| vec![opinion::sentence(stream, Matter::Mood, label == 1, 0.3)]),
        ..TARGET
    },
    Builtin {
        name: "w_product",
        family: "w_senti",
        skill: "feeling",
        fields: &["review"],
        labels: &["con", "pro"],
        draw: Draw::Label(|stream, label| vec![opinion::sentence(stream, Matter::Goods, label == 1, 0.4)]),
        ..TARGET
    },
    Builtin {
        name: "w_rte",
        family: "w_nli",
        skill: "follow",
        train: 80,
        fields: &["sentence1", "sentence2"],
        labels: &["entailment", "not_entailment"],
        draw: Draw::Label(|stream, label| {
            let other = *stream.choose(&[Relation::Open, Relation::Clashes]);
            event::inference(stream, if label == 0 { Relation::Follows } else { other }).into()
        }),
        ..TARGET
    },
    Builtin {
        name: "w_mrpc",
        family: "w_para",
        skill: "same",
        train: 80,
        fields: &["sentence1", "sentence2"],
        labels: &["not_equivalent", "equivalent"],
        metrics: F1_ACCURACY,
        draw: Draw::Label(|stream, label| event::paraphrase(stream, label == 1, true).into()),
        ..TARGET
    },
    Builtin {
        name: "w_boolq",
        family: "w_fact",
        skill: "fact",
        fields: &["document", "claim"],
        labels: &["false", "true"],
        draw: Draw::Label(|stream, label| {
            let scene = Scene::draw(stream);
            vec![scene.say(), scene.claim(stream, label == 1)]
        }),
        ..TARGET
    },
    Builtin {
        name: "w_animal",
        family: "w_topic",
        skill: "is_kind",
        train: 40,
        fields: &["text"],
        labels: &["other", "animal"],
        draw: Draw::Label(|stream, label| {
            let category = category_of(stream, CATEGORIES.len(), label == 1);
            vec![Event::draw(stream).with_category(stream, category).say()]
        }),
        ..TARGET
    },
    Builtin {
        name: "w_where",
        family: "w_qa",
        skill: "extract",
        train: 24,
        fields: &["passage"],
        answer: Answer::Text,
        metrics: SPAN,
        draw: Draw::Open(|stream| {
            let event = Event::placed(stream);
            (vec![event.say()], event.place().expect("a placed event has a place").to_owned())
        }),
        ..TARGET
    },
    Builtin {
        name: "w_copa",
        family: "w_cause",
        skill: "choice",
        train: 80,
        fields: &["choice1", "choice2", "premise", "question"],
        labels: &["choice1", "choice2"],
        draw: Draw::Label(|stream, label| {
            let choice = cause::Choice::draw(stream, label);
            let [first, second] = choice.options;
            vec![first, second, choice.premise, if choice.effect { "effect" } else { "cause" }.to_owned()]
        }),
        ..TARGET
    },
    Builtin {
        name: "w_wic",
        family: "w_sense",
        skill: "sense",
        train: 80,
        fields: &["sentence1", "sentence2", "word"],
        labels: &["different", "same"],
        draw: Draw::Label(|stream, label| {
            let (word, [first, second]) = sense::pair(stream, label == 1);
            vec![first, second, word.to_owned()]
        }),
        ..TARGET
    },
];

/// All built-in tasks, sources first.
pub fn tasks() -> &'static [Builtin] {
    &TASKS
}

/// The built-in task of this name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    TASKS.iter().find(|task| task.name == name)
}

/// Whether skill, label words (in either order) and field names are together those of a built-in task, which pretraining
/// must not practise.
pub(super) fn is_reserved(skill: &str, labels: &[&str], fields: &[&str]) -> bool {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    TASKS.iter().any(|task| {
        let mut own = task.labels.to_vec();
        own.sort_unstable();
        // The labels of open skills are their answers, so that the field names alone make the difference.
        task.skill == skill && task.fields == fields && (labels.is_empty() || own == sorted)
    })
}

/// Which split an input belongs to, by its hash alone: the same under every seed.
fn split_of(input: &str) -> Split {
    match blake3::hash(input.as_bytes()).as_bytes()[0] % 8 {
        0..4 => Split::Train,
        4..6 => Split::Validation,
        _ => Split::Test,
    }
}

impl Builtin {
    /// What a data set of this task says of itself.
    pub fn task(&self) -> Task {
        Task {
            name: self.name.to_owned(),
            format: None,
            labels: self.labels.iter().map(|&label| label.to_owned()).collect(),
            answer: self.answer,
            metrics: self.metrics.to_vec(),
            around: None,
            spacing: Spacing::default(),
        }
    }

    /// The default number of rows of a split.
    pub fn rows(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
            Split::Test => self.test,
        }
    }

    /// The first `count` examples of a split: a prefix of what a larger count gives under the same seed.
    ///
    /// No input occurs twice or, under whatever seed, in two splits. Labels come in blocks that hold each once, so that
    /// every prefix is balanced. A task whose world has fewer inputs gives fewer.
    pub fn examples(&self, split: Split, count: usize, seed: u64) -> Vec<Example> {
        let mut stream = Stream::new(seed, &format!("world {VERSION} {} {split:?}", self.name));
        let mut seen = HashSet::with_capacity(count);
        let mut examples = Vec::with_capacity(count);
        let mut block: Vec<usize> = Vec::new();
        while examples.len() < count {
            if block.is_empty() {
                block = (0..self.labels.len().max(1)).collect();
                stream.shuffle(&mut block);
            }
            let label = block.pop().expect("a block was just filled");
            let Some((input, target)) = self.fresh(&mut stream, split, label, &seen) else { break };
            seen.insert(input.clone());
            let is_label = self.answer == Answer::Label;
            examples.push(Example {
                id: examples.len().to_string(),
                label: is_label.then_some(label as u32),
                group: None,
                answers: if self.answer == Answer::Text { vec![target.clone()] } else { Vec::new() },
                input,
                target,
                choices: Vec::new(),
            });
        }
        examples
    }

    /// An input of the split that was not yet seen, with its target.
    fn fresh(
        &self,
        stream: &mut Stream,
        split: Split,
        label: usize,
        seen: &HashSet<String>,
    ) -> Option<(String, String)> {
        for _ in 0..PATIENCE {
            let (parts, target) = match self.draw {
                Draw::Label(draw) => (draw(stream, label), self.labels[label].to_owned()),
                Draw::Open(draw) => draw(stream),
            };
            let input = written(&join(self.fields, &parts));
            if split_of(&input) == split && !seen.contains(&input) {
                return Some((input, written(&target)));
            }
        }
        None
    }
}
