//! Plain text of the world, in which the phenomena of the tasks occur unlabelled.

use super::event::{self, Event, Relation};
use super::labels::written;
use super::opinion::{self, Matter};
use super::scene::{Count, Scene};
use super::{VERSION, cause, grammar, sense};
use crate::ml::random::Stream;
use crate::ml::tasks::{Answer, Example, Spacing, Task};
use std::collections::HashSet;

/// Paragraphs in a row that were seen before, after which there is taken to be no other.
const PATIENCE: usize = 20_000;

/// The text as a task without labels: its paragraphs are to be continued.
pub struct Text;

impl Text {
    /// Its name, beside those of the built-in tasks.
    pub const NAME: &'static str = "w_text";
    /// Default number of training rows, the only ones.
    pub const ROWS: usize = 4000;

    /// What a data set of it says of itself.
    pub fn task() -> Task {
        Task {
            name: Self::NAME.to_owned(),
            format: None,
            labels: Vec::new(),
            answer: Answer::Text,
            metrics: Vec::new(),
            around: None,
            spacing: Spacing::default(),
        }
    }

    /// The first `count` paragraphs, each cut in two between any two words with equal probability, as in T5's `prefix_lm`:
    /// a prefix of what a larger count gives under the same seed. No paragraph occurs twice; there are fewer if the world has
    /// nothing new to say.
    pub fn examples(count: usize, seed: u64) -> Vec<Example> {
        let mut stream = Stream::new(seed, &format!("world {VERSION} {}", Self::NAME));
        let mut seen = HashSet::with_capacity(count);
        let mut examples = Vec::with_capacity(count);
        while examples.len() < count {
            let fresh = (0..PATIENCE).map(|_| plain(&mut stream)).find(|text| seen.insert(text.clone()));
            let Some(text) = fresh else { break };
            let gaps: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
            let (input, target) = text.split_at(gaps[stream.below(gaps.len())]);
            examples.push(Example {
                id: examples.len().to_string(),
                input: input.to_owned(),
                target: target[1..].to_owned(),
                label: None,
                group: None,
                answers: Vec::new(),
                choices: Vec::new(),
            });
        }
        examples
    }
}

/// A short paragraph: one to three passages.
pub fn plain(stream: &mut Stream) -> String {
    let count = 1 + stream.below(3);
    written(&(0..count).map(|_| passage(stream)).collect::<Vec<_>>().join(" "))
}

fn passage(stream: &mut Stream) -> String {
    match stream.below(12) {
        0 => Event::draw(stream).say(),
        1 => event::paraphrase(stream, true, false).join(" that is , "),
        2 => event::inference(stream, Relation::Follows).join(" so "),
        3 => event::inference(stream, Relation::Clashes).join(" it is not true that "),
        4 => {
            let matter = Matter::draw(stream);
            let positive = stream.chance(0.5);
            opinion::sentence(stream, matter, positive, 0.35)
        }
        5 => {
            let scene = Scene::draw(stream);
            format!("{} so {}", scene.say(), scene.claim(stream, true))
        }
        6 => {
            let scene = Scene::draw(stream);
            let (question, answer) = scene.question(stream);
            format!("{} {question} {answer} .", scene.say())
        }
        7 => {
            let [cause, effect] = cause::chain(stream);
            if stream.chance(0.5) { format!("{cause} so {effect} .") } else { format!("{effect} because {cause} .") }
        }
        8 => {
            let count = Count::unequal(stream);
            format!("{} {} has more .", count.say("has"), count.winner())
        }
        9 => {
            let total = 2 + stream.below(9);
            let count = Count::with_total(stream, total);
            format!("{} that makes {} .", count.say("has"), count.total())
        }
        10 => {
            let aspect = stream.below(3);
            let (word, other) = event::dictionary(stream, aspect);
            match aspect {
                0 => format!("{word} is a kind of {other} ."),
                1 => format!("{word} means {other} ."),
                _ => format!("{word} is the opposite of {other} ."),
            }
        }
        _ if stream.chance(0.5) => sense::usage(stream).1,
        _ => grammar::sentence(stream, true),
    }
}
