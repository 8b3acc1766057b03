//! What learning costs, in floating-point operations, as far as the jobs that made the model and the data sets noted it down: that a model
//! and data are larger tells how much longer a job takes that nobody has run, once one was measured.

use crate::data::Tokenized;
use crate::engine::context::Cx;
use crate::engine::stage::Notes;
use crate::ml::model::Dims;
use crate::ml::model::arithmetic::{Parameters, Pass, Tokens};
use crate::ml::tasks::Split;
use crate::ml::train::examples::Size;
use crate::ml::train::settings::Settings;

// Names of notes.
const ENCODER: &str = "parameters of an encoder token";
const DECODER: &str = "parameters of a decoder token";
const INPUT: &str = "mean tokens of an input";
const TARGET: &str = "mean tokens of a target";
const VALIDATED: &str = "validation examples";

/// Notes down the size of the model that a job makes.
pub(super) fn note_model(cx: &mut Cx<'_>, dims: &Dims) {
    let Parameters { encoder, decoder } = dims.parameters_of_a_token();
    cx.note(ENCODER, encoder);
    cx.note(DECODER, decoder);
}

/// Counts the tokens of a data set that is made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    /// Training examples, or all where there are none.
    rows: usize,
    input: usize,
    target: usize,
    validated: usize,
}

impl Counted {
    /// Counts an example.
    pub(super) fn add(&mut self, split: Split, ids: &Tokenized) {
        match split {
            Split::Train => {
                self.rows += 1;
                self.input += ids.input.len();
                self.target += ids.target.len();
            }
            Split::Validation => self.validated += 1,
            Split::Test => {}
        }
    }

    /// Notes down what was counted; nothing of a data set from which nobody learns.
    pub(super) fn note(self, cx: &mut Cx<'_>) {
        if self.rows == 0 {
            return;
        }
        let mean = |tokens: usize| format!("{:.2}", tokens as f64 / self.rows as f64);
        cx.note(INPUT, mean(self.input));
        cx.note(TARGET, mean(self.target));
        cx.note(VALIDATED, self.validated);
    }
}

/// A tuning.
pub(super) struct Tuning<'s> {
    /// Steps and evaluations.
    pub(super) settings: &'s Settings,
    /// What learns.
    pub(super) pass: Pass,
    /// Rows of the prompt.
    pub(super) prompt: usize,
    /// What an update takes.
    pub(super) batch: Size,
}

impl Tuning<'_> {
    /// The operations of all steps and evaluations, if the notes of the model and of all data sets tell their sizes. Examples of a mixture
    /// count as if each data set were drawn equally often; answers, as if they had the length of targets.
    pub(super) fn operations(&self, inputs: &dyn Fn(&str) -> Vec<Notes>) -> Option<f64> {
        let [backbone] = &inputs("backbone")[..] else { return None };
        let parameters = Parameters { encoder: number(backbone, ENCODER)?, decoder: number(backbone, DECODER)? };
        let data = inputs("data");
        let (mut input, mut target, mut answers) = (0.0, 0.0, 0.0);
        for notes in &data {
            let own = Tokens { encoder: number(notes, INPUT)? + self.prompt as f64, decoder: number(notes, TARGET)? };
            answers += number(notes, VALIDATED)? * parameters.operations(own, Pass::Forward);
            input += own.encoder / data.len() as f64;
            target += own.decoder / data.len() as f64;
        }
        let example = Tokens { encoder: input, decoder: target };
        let examples = match self.batch {
            Size::Examples(examples) => examples as f64,
            Size::Tokens(tokens) => tokens as f64 / (input - self.prompt as f64 + target),
        };
        let Settings { steps, evaluate_every, .. } = self.settings;
        let evaluations = 1 + steps.div_ceil(*evaluate_every);
        let all = *steps as f64 * examples * parameters.operations(example, self.pass) + evaluations as f64 * answers;
        (all.is_finite() && all > 0.0).then_some(all)
    }
}

fn number(notes: &Notes, name: &str) -> Option<f64> {
    notes.get(name)?.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn notes(pairs: &[(&str, &str)]) -> Notes {
        Arc::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn operations_are_those_of_steps_and_of_evaluations() {
        let settings = Settings { steps: 10, evaluate_every: 4, ..Settings::default() };
        let backbone = notes(&[(ENCODER, "100"), (DECODER, "50")]);
        let data = notes(&[(INPUT, "6.00"), (TARGET, "2.00"), (VALIDATED, "5")]);
        let of = |batch, data: &[Notes]| {
            let tuning = Tuning { settings: &settings, pass: Pass::Prompt, prompt: 4, batch };
            tuning.operations(&|role| if role == "data" { data.to_vec() } else { vec![backbone.clone()] })
        };
        let forward = 2.0 * (100.0 * 10.0 + 50.0 * 2.0);
        // Steps 0, 4, 8 and 10 are evaluated.
        let expected = 10.0 * 3.0 * 2.0 * forward + 4.0 * 5.0 * forward;
        assert_eq!(of(Size::Examples(3), std::slice::from_ref(&data)), Some(expected));
        assert_eq!(of(Size::Tokens(24), std::slice::from_ref(&data)), Some(expected), "three examples have 24 tokens");
        let unknown = notes(&[(INPUT, "many"), (TARGET, "2.00"), (VALIDATED, "5")]);
        assert_eq!(of(Size::Examples(3), &[data.clone(), unknown]), None);
        assert_eq!(of(Size::Examples(3), &[notes(&[])]), None);
        let twice = of(Size::Examples(3), &[data.clone(), data]).unwrap();
        assert_eq!(twice, expected + 4.0 * 5.0 * forward, "both validation splits are answered");
    }
}
