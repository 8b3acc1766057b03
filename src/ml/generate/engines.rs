//! The ways to answer as methods of the engines.

use super::{Beam, Generation, Hypothesis, LabelScore, Sample, beam, generate, greedy, labels, sample};
use crate::ml::error::Result;
use crate::ml::model::batch::Ragged;
use crate::ml::model::decoder::Questions;
use crate::ml::model::{Engine, cpu, gpu};

impl cpu::Engine<'_> {
    /// An answer to each example, without the closing eos; at most `longest` ids. `streams` is what [`sample`](Self::sample)
    /// draws from, `[B]`.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::error::Error::Setting) for a setting outside its range.
    pub fn generate(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        streams: &[u64],
        longest: usize,
        generation: &Generation,
    ) -> Result<Vec<Vec<u32>>> {
        generate(self, &Questions { prompts, run, inputs }, streams, longest, generation)
    }

    /// The most probable continuation of each example, token by token, without the closing eos; the prompts are `[P, E]`; at
    /// most `longest` ids. Of equal logits the lowest id wins.
    pub fn greedy(&mut self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged, longest: usize) -> Vec<Vec<u32>> {
        let answers = greedy::greedy(self, &Questions { prompts, run, inputs }, longest);
        answers.expect("nothing here fails")
    }

    /// The best answer of a beam search for each example; at most `longest` ids. The prompts are `[P, E]`.
    ///
    /// Of continuations with equal scores that of the better beam goes first, then the lower id; of finished answers that
    /// which finished earlier. With one beam the ids are those of [`greedy`](Self::greedy). Where an example has fewer than
    /// `width` continuations all of them are followed.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::error::Error::Setting) for a setting outside its range.
    pub fn beam(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        longest: usize,
        settings: Beam,
    ) -> Result<Vec<Hypothesis>> {
        beam::search(self, &Questions { prompts, run, inputs }, longest, settings)
    }

    /// An answer to each example with tokens drawn at random, without the closing eos; at most `longest` ids.
    ///
    /// An example draws from a stream of its own, named by the seed and its number in `streams`, `[B]`. So an answer does
    /// not depend on what else is in the batch, if the number does not, such as the example's place in a data set. The
    /// numbers are those of rand's `StdRng`, which another version of it may change.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::error::Error::Setting) for a setting outside its range.
    ///
    /// # Panics
    /// If there are fewer streams than examples.
    pub fn sample(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        streams: &[u64],
        longest: usize,
        settings: Sample,
    ) -> Result<Vec<Vec<u32>>> {
        sample::sample(self, &Questions { prompts, run, inputs }, streams, longest, settings)
    }

    /// The likelihood of every label for every example, `[B][L]`. `labels`: L rows of ids with the closing eos, which
    /// counts as a token.
    ///
    /// The encoder reads each example once; all its labels look at the same keys and values. A score does not depend on
    /// what else is in the batch, nor on the other labels.
    pub fn label_scores(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        labels: &Ragged,
    ) -> Vec<Vec<LabelScore>> {
        labels::label_scores(self, &Questions { prompts, run, inputs }, labels).expect("nothing here fails")
    }
}

impl gpu::Engine<'_> {
    /// An answer to each example, without the closing eos; at most `longest` ids. `streams` is what samples are drawn from,
    /// `[B]`.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::error::Error::Setting) for a setting outside its range; if the device fails.
    pub fn generate(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        streams: &[u64],
        longest: usize,
        generation: &Generation,
    ) -> Result<Vec<Vec<u32>>> {
        generation.check()?;
        self.answer(prompts, run, inputs, |engine, questions, examples| {
            let streams: Vec<u64> = examples.iter().filter_map(|example| streams.get(*example).copied()).collect();
            generate(engine, questions, &streams, longest, generation)
        })
    }

    /// The likelihood of every label for every example, `[B][L]`; the encoder reads each example once.
    ///
    /// # Errors
    /// If the device fails.
    pub fn label_scores(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        labels: &Ragged,
    ) -> Result<Vec<Vec<LabelScore>>> {
        self.answer(prompts, run, inputs, |engine, questions, _| labels::label_scores(engine, questions, labels))
    }
}

impl Engine<'_> {
    /// An answer to each example, as [`cpu::Engine::generate`] gives it. The prompts are `[P, E]`, `streams` is `[B]`.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::error::Error::Setting) for a setting outside its range; if the device fails.
    pub fn generate(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        streams: &[u64],
        longest: usize,
        generation: &Generation,
    ) -> Result<Vec<Vec<u32>>> {
        match self {
            Self::Cpu(engine) => engine.generate(prompts, run, inputs, streams, longest, generation),
            Self::Gpu(engine) => engine.generate(prompts, run, inputs, streams, longest, generation),
        }
    }

    /// The likelihood of every label for every example, `[B][L]`, as [`cpu::Engine::label_scores`] gives it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn label_scores(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        labels: &Ragged,
    ) -> Result<Vec<Vec<LabelScore>>> {
        match self {
            Self::Cpu(engine) => Ok(engine.label_scores(prompts, run, inputs, labels)),
            Self::Gpu(engine) => engine.label_scores(prompts, run, inputs, labels),
        }
    }
}
