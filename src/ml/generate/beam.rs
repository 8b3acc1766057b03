//! Beam search: the steps, scores and stopping rules of Hugging Face's `GenerationMixin._beam_search` (transformers 5.24).

use crate::ml::error::{Error, Result};
use crate::ml::model::cpu::kernels::cross_entropy;
use crate::ml::model::decoder::groups;
use crate::ml::model::decoder::{LIKELIHOOD, Questions, Reader, Texts};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a beam search; the defaults are those of Hugging Face, but for the width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Beam {
    /// Unfinished answers that are followed at one time, and finished ones that are kept, of an example.
    pub width: usize,
    /// The log-likelihood of a finished answer is divided by its length, eos included, to this power: above 0 favours
    /// long answers.
    pub length_penalty: f64,
    /// Stop as soon as `width` answers have finished. Else stop when the best unfinished one, taken as if it ended where
    /// it is, no longer beats the worst of `width` finished ones.
    pub early_stopping: bool,
}

impl Default for Beam {
    fn default() -> Self {
        Self { width: 4, length_penalty: 1.0, early_stopping: false }
    }
}

/// Widest search.
const WIDEST: usize = 1 << 8;

impl Beam {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |field, found: String, expected: String| Err(Error::Setting { field, found, expected });
        if self.width == 0 || self.width > WIDEST {
            return wrong("width", self.width.to_string(), format!("1 to {WIDEST}"));
        }
        if self.length_penalty.is_nan() || self.length_penalty.abs() > 10.0 {
            return wrong("length_penalty", self.length_penalty.to_string(), "-10 to 10".to_owned());
        }
        Ok(())
    }
}

/// What a beam search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// Ids of the answer, without the closing eos.
    pub ids: Vec<u32>,
    /// Log-likelihood over penalised length; eos counts in both, unless the answer was cut.
    pub score: f64,
}

/// The best answer of a beam search for each question.
///
/// # Errors
/// [`Error::Setting`] for a value outside its range; if the device fails.
pub(super) fn search(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    longest: usize,
    settings: Beam,
) -> Result<Vec<Hypothesis>> {
    settings.check()?;
    let memory = reader.read(questions)?;
    let dims = reader.dims();
    let mut found = vec![Hypothesis::default(); questions.run.len()];
    for group in groups(dims, found.len(), settings.width, longest) {
        let mut decoder = reader.decoder(&memory, group.len() * settings.width, longest)?;
        let slot = |example: usize| (example - group.start) * settings.width;
        let mut active: Vec<Search> = group.clone().map(|e| Search::new(e, slot(e), settings)).collect();
        let mut last = vec![dims.start; active.len()];
        for length in 1..=longest {
            let texts: Vec<Texts> = active.iter().map(Search::texts).collect();
            let mut continuations = Vec::with_capacity(last.len());
            decoder.step(&texts, &last, length - 1, &mut |_, logits| {
                continuations.extend(likeliest(logits, dims.vocab, 2 * settings.width));
            })?;
            let mut rest = continuations.into_iter();
            last.clear();
            active.retain_mut(|search| {
                let own = rest.by_ref().take(search.beams.len());
                let next = search.extend(own, |id| id == dims.eos, length == longest);
                if search.has_ended(&next) {
                    found[search.example] = search.finished.swap_remove(0);
                    return false;
                }
                last.extend(next.iter().map(|continuation| continuation.id));
                search.follow(&next, |from, to| decoder.copy(from, to, length));
                true
            });
            if active.is_empty() {
                break;
            }
        }
    }
    Ok(found)
}

/// One more token behind a beam.
#[derive(Clone, Copy)]
struct Continuation {
    /// Which beam of its example.
    beam: usize,
    id: u32,
    /// Log-likelihood: of the token, later of all tokens.
    score: f64,
}

/// For each row of `logits`, `[n, V]`, the `count` likeliest ids, best first; of equal logits the lowest id first. What
/// is left in `logits` has no meaning.
fn likeliest(logits: &mut [f32], vocab: usize, count: usize) -> Vec<Vec<Continuation>> {
    let mut rows: Vec<Vec<Continuation>> =
        logits.par_chunks_exact(vocab).map(|logits| highest(logits, count)).collect();
    let best: Vec<u32> = rows.iter().map(|row| row[0].id).collect();
    let mut losses = vec![0.0; best.len()];
    cross_entropy(LIKELIHOOD, &mut losses, logits, &best, vocab);
    for (row, loss) in rows.iter_mut().zip(losses) {
        let log_z = row[0].score + f64::from(loss);
        row.iter_mut().for_each(|continuation| continuation.score -= log_z);
    }
    rows
}

/// The `count` ids with the highest of `logits`, `[V]`, in the order of [`likeliest`], with their logits as scores.
fn highest(logits: &[f32], count: usize) -> Vec<Continuation> {
    // Adding 0 makes -0 equal to 0, as it is for greedy decoding.
    let logit = |id: u32| logits[id as usize] + 0.0;
    let order = |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if count < ids.len() {
        ids.select_nth_unstable_by(count, order);
        ids.truncate(count);
    }
    ids.sort_unstable_by(order);
    ids.into_iter().map(|id| Continuation { beam: 0, id, score: f64::from(logit(id)) }).collect()
}

/// An unfinished answer.
struct Running {
    /// Where its keys and values are.
    slot: usize,
    ids: Vec<u32>,
    /// Log-likelihood.
    score: f64,
}

/// The search for the answer to one example.
struct Search {
    example: usize,
    settings: Beam,
    /// First of its `width` slots.
    slot: usize,
    /// Best first, up to `width`.
    beams: Vec<Running>,
    /// Best first, up to `width`.
    finished: Vec<Hypothesis>,
}

impl Search {
    fn new(example: usize, slot: usize, settings: Beam) -> Self {
        let beams = vec![Running { slot, ids: Vec::new(), score: 0.0 }];
        Self { example, settings, slot, beams, finished: Vec::new() }
    }

    fn texts(&self) -> Texts {
        Texts { example: self.example, slots: self.beams.iter().map(|beam| beam.slot).collect(), tokens: 1 }
    }

    /// Adds the answers that finish with a token of `continuations`, of each beam, and gives the beams to follow. With
    /// `cut` all answers finish.
    fn extend(
        &mut self,
        continuations: impl Iterator<Item = Vec<Continuation>>,
        is_eos: impl Fn(u32) -> bool,
        cut: bool,
    ) -> Vec<Continuation> {
        let Beam { width, length_penalty, .. } = self.settings;
        let mut all: Vec<Continuation> = self
            .beams
            .iter()
            .zip(continuations)
            .enumerate()
            .flat_map(|(beam, (text, row))| {
                row.into_iter().map(move |next| Continuation { beam, score: text.score + next.score, ..next })
            })
            .collect();
        // Both sorts are stable.
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(2 * width);
        let mut running = Vec::with_capacity(width);
        for (rank, next) in all.into_iter().enumerate() {
            let ended = is_eos(next.id);
            if !(ended || cut) {
                running.push(next);
            } else if rank < width {
                let text = &self.beams[next.beam].ids;
                let score = next.score / libm::pow((text.len() + 1) as f64, length_penalty);
                let ids = text.iter().copied().chain((!ended).then_some(next.id)).collect();
                self.finished.push(Hypothesis { ids, score });
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(width);
        running.truncate(width);
        running
    }

    /// Whether none of the beams to follow can change the answer, by the rule of the settings.
    fn has_ended(&self, next: &[Continuation]) -> bool {
        let Beam { width, length_penalty, early_stopping } = self.settings;
        let Some(best) = next.first() else { return true };
        if self.finished.len() < width {
            return false;
        }
        let length = self.beams[best.beam].ids.len() + 1;
        early_stopping || best.score / libm::pow(length as f64, length_penalty) <= self.finished[width - 1].score
    }

    /// Makes `next` the beams. The first child of a beam takes its slot over, each other one a slot that nobody follows,
    /// into which `copy` puts the parent's keys and values.
    fn follow(&mut self, next: &[Continuation], mut copy: impl FnMut(usize, usize)) {
        let mut free: Vec<usize> = (self.slot..self.slot + self.settings.width).collect();
        free.retain(|slot| next.iter().all(|child| self.beams[child.beam].slot != *slot));
        let mut taken = vec![false; self.beams.len()];
        self.beams = next
            .iter()
            .map(|child| {
                let Running { slot, ids, .. } = &self.beams[child.beam];
                let mut slot = *slot;
                if std::mem::replace(&mut taken[child.beam], true) {
                    let to = free.pop().expect("no more beams than slots");
                    copy(slot, to);
                    slot = to;
                }
                Running { slot, ids: ids.iter().copied().chain([child.id]).collect(), score: child.score }
            })
            .collect();
    }
}
