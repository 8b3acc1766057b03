//! The stream of examples that batches are cut from: of one task its epochs, of a mixture tasks drawn by their rates.
//!
//! The batch of a step is a function of seed and step alone, so a run that goes on somewhere learns from what an
//! uninterrupted one would.

use super::mixture::Mixing;
use crate::ml::error::{Error, Result};
use crate::ml::model::batch::Batch;
use crate::ml::random::Stream;

/// Ids of an example: input and target, each with its closing eos.
pub type Pair<'d> = (&'d [u32], &'d [u32]);

/// The same, read from where it is kept.
pub type Fetched = (Vec<u32>, Vec<u32>);

/// The training examples of a task, wherever they are kept: a batch fetches its own by their numbers.
pub trait Pool: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// One of them.
    ///
    /// # Errors
    /// If it cannot be read.
    fn fetch(&self, at: usize) -> std::io::Result<Fetched>;

    /// Ids of the input of one of them.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    fn input_length(&self, at: usize) -> std::io::Result<usize>;
}

impl Pool for Vec<Pair<'_>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn fetch(&self, at: usize) -> std::io::Result<Fetched> {
        let (input, target) = self[at];
        Ok((input.to_vec(), target.to_vec()))
    }

    fn input_length(&self, at: usize) -> std::io::Result<usize> {
        Ok(self[at].0.len())
    }
}

impl<P: Pool> Pool for &P {
    fn count(&self) -> usize {
        (**self).count()
    }

    fn fetch(&self, at: usize) -> std::io::Result<Fetched> {
        (**self).fetch(at)
    }

    fn input_length(&self, at: usize) -> std::io::Result<usize> {
        (**self).input_length(at)
    }
}

/// How much a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many examples.
    Examples(usize),
    /// Examples until the next would pass this many tokens of inputs and targets; at least one.
    Tokens(usize),
}

/// How examples become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// How much a batch holds.
    pub size: Size,
    /// Batches among which neighbours in length are brought together, so that a device that pads its batches computes less
    /// padding; 1 leaves every batch a random sample.
    pub length_window: usize,
}

impl Batching {
    /// Batches of so much, each a random sample.
    pub fn of(size: Size) -> Self {
        Self { size, length_window: 1 }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range, or a window over batches that have no fixed places.
    pub fn check(self) -> Result<()> {
        match self.size {
            Size::Examples(size) if size == 0 || size > MOST_EXAMPLES => {
                return Err(Error::setting("batch_size", size, format!("1 to {MOST_EXAMPLES}")));
            }
            Size::Tokens(tokens) if tokens == 0 || tokens > MOST_TOKENS => {
                return Err(Error::setting("batch_tokens", tokens, format!("1 to {MOST_TOKENS}")));
            }
            _ => {}
        }
        let window = self.length_window;
        if window == 0 || window > MOST_EXAMPLES {
            return Err(Error::setting("length_window", window, format!("1 to {MOST_EXAMPLES}")));
        }
        if window > 1 && matches!(self.size, Size::Tokens(_)) {
            let expected = "1 for batches by tokens, which have no fixed places in an epoch";
            return Err(Error::setting("length_window", window, expected));
        }
        Ok(())
    }
}

/// More examples than these in a batch, or batches in a window, are a mistake.
const MOST_EXAMPLES: usize = 1 << 16;
/// More tokens than these in a batch are a mistake.
const MOST_TOKENS: usize = 1 << 24;

/// Batches, one after the other.
pub struct Examples<'d> {
    /// The examples of each task.
    tasks: Vec<Box<dyn Pool + 'd>>,
    /// How often each task is drawn.
    rates: Vec<f64>,
    batching: Batching,
    seed: u64,
    /// Batches taken so far.
    step: u64,
    /// Of a mixture: which task is next.
    draws: Stream,
    /// Examples taken of each task.
    taken: Vec<u64>,
    /// For each task the epoch it is in, and the order of examples in it.
    orders: Vec<Option<(u64, Vec<u32>)>>,
    /// What was drawn for the last batch and did not fit.
    waiting: Option<Fetched>,
}

impl<'d> Examples<'d> {
    /// The examples of one task or of several, of which `mixing` says how often each is drawn. Batches of one task may be
    /// brought together by length.
    ///
    /// # Errors
    /// If a task has no example, a setting is out of range, or there is nothing that a window could order.
    pub fn new<P: Pool + 'd>(tasks: Vec<P>, mixing: Mixing, batching: Batching, seed: u64) -> Result<Self> {
        mixing.check()?;
        batching.check()?;
        if tasks.is_empty() || tasks.iter().any(|task| task.count() == 0) {
            return Err(Error::setting("data", "without training rows", "at least one"));
        }
        if tasks.len() > 1 && batching.length_window > 1 {
            let expected = "1 for a mixture, whose batches are drawn task by task";
            return Err(Error::setting("length_window", batching.length_window, expected));
        }
        let rates = mixing.rates(&tasks.iter().map(Pool::count).collect::<Vec<_>>());
        let tasks: Vec<Box<dyn Pool + 'd>> = tasks.into_iter().map(|task| Box::new(task) as _).collect();
        let (taken, orders) = (vec![0; tasks.len()], vec![None; tasks.len()]);
        let draws = draws(seed);
        Ok(Self { tasks, rates, batching, seed, step: 0, draws, taken, orders, waiting: None })
    }

    /// The seed of the order of examples.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The batch of a step, counted from 0: `[B]` inputs and targets, ragged. The steps between the last one and this are skipped; an earlier one is found
    /// from the beginning.
    ///
    /// # Errors
    /// If an example cannot be read.
    pub fn batch(&mut self, step: u64) -> Result<Batch> {
        if step < self.step {
            self.step = 0;
            self.draws = draws(self.seed);
            self.taken.fill(0);
            self.waiting = None;
        }
        match self.batching.size {
            Size::Examples(size) => self.skip((step - self.step) * size as u64),
            Size::Tokens(_) => (self.step..step).try_for_each(|_| self.pairs().map(drop))?,
        }
        self.step = step + 1;
        let mut batch = Batch::default();
        self.pairs()?.iter().for_each(|(input, target)| batch.push(0, input, target));
        Ok(batch)
    }

    fn skip(&mut self, examples: u64) {
        if let [taken] = self.taken.as_mut_slice() {
            *taken += examples;
            return;
        }
        for _ in 0..examples {
            let task = self.draw();
            self.taken[task] += 1;
        }
    }

    fn pairs(&mut self) -> Result<Vec<Fetched>> {
        match self.batching.size {
            Size::Examples(size) => (0..size).map(|_| self.next()).collect(),
            Size::Tokens(most) => {
                let (mut pairs, mut tokens) = (Vec::new(), 0);
                loop {
                    let next = match self.waiting.take() {
                        Some(next) => next,
                        None => self.next()?,
                    };
                    tokens += next.0.len() + next.1.len();
                    if tokens > most && !pairs.is_empty() {
                        self.waiting = Some(next);
                        return Ok(pairs);
                    }
                    pairs.push(next);
                }
            }
        }
    }

    /// The next example of the next task.
    fn next(&mut self) -> Result<Fetched> {
        let task = self.draw();
        let rows = self.tasks[task].count() as u64;
        let (epoch, at) = (self.taken[task] / rows, (self.taken[task] % rows) as usize);
        self.taken[task] += 1;
        if self.orders[task].as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.orders[task] = Some((epoch, self.order(task, epoch)?));
        }
        let (_, order) = self.orders[task].as_ref().expect("made just above");
        Ok(self.tasks[task].fetch(order[at] as usize)?)
    }

    /// Which task the next example is of.
    fn draw(&mut self) -> usize {
        if self.tasks.len() == 1 {
            return 0;
        }
        let mut left = self.draws.unit();
        let passed = |rate: &f64| {
            left -= rate;
            left < 0.0
        };
        self.rates.iter().position(passed).unwrap_or(self.tasks.len() - 1)
    }

    /// A random order of a task's examples; within windows of some batches by length, the batches of a window in random order.
    fn order(&self, task: usize, epoch: u64) -> Result<Vec<u32>> {
        let rows = &self.tasks[task];
        let count = u32::try_from(rows.count()).map_err(std::io::Error::other)?;
        let mut order: Vec<u32> = (0..count).collect();
        let of = if self.tasks.len() == 1 { String::new() } else { format!(" of task {task}") };
        let mut stream = Stream::new(self.seed, &format!("order of epoch {epoch}{of}"));
        stream.shuffle(&mut order);
        let Batching { size: Size::Examples(size), length_window: 2.. } = self.batching else { return Ok(order) };
        let lengths = (0..rows.count()).map(|at| rows.input_length(at)).collect::<std::io::Result<Vec<_>>>()?;
        let mut sorted = Vec::with_capacity(order.len());
        for window in order.chunks_mut(size * self.batching.length_window) {
            window.sort_by_key(|at| lengths[*at as usize]);
            let mut batches: Vec<&[u32]> = window.chunks(size).collect();
            stream.shuffle(&mut batches);
            sorted.extend(batches.into_iter().flatten());
        }
        Ok(sorted)
    }
}

fn draws(seed: u64) -> Stream {
    Stream::new(seed, "tasks of the mixture")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (Vec<u32>, Vec<u32>);

    /// Texts of 1 to 40 ids; the target names the row.
    fn rows() -> Vec<Row> {
        let mut stream = Stream::new(1, "rows");
        (0..203).map(|i| (vec![2; 1 + stream.below(40)], vec![i, 1])).collect()
    }

    fn pairs(rows: &[Row]) -> Vec<Pair<'_>> {
        rows.iter().map(|(input, target)| (&input[..], &target[..])).collect()
    }

    fn single(rows: &[Row], size: Size, length_window: usize) -> Examples<'_> {
        let batching = Batching { size, length_window };
        Examples::new(vec![pairs(rows)], Mixing::default(), batching, 7).unwrap()
    }

    /// Of 150 and of 50 examples.
    fn mixture(rows: &[Row], size: Size) -> Examples<'_> {
        let tasks = vec![pairs(&rows[..150]), pairs(&rows[150..200])];
        Examples::new(tasks, Mixing::default(), Batching::of(size), 7).unwrap()
    }

    /// Which rows the batch of a step holds.
    fn names(examples: &mut Examples<'_>, step: u64) -> Vec<u32> {
        examples.batch(step).unwrap().targets.rows().map(|target| target[0]).collect()
    }

    /// The rule by which every result so far was made.
    #[test]
    fn one_task_is_its_shuffled_epochs_cut_into_batches() {
        let rows = rows();
        let mut expected = Vec::new();
        for epoch in 0..3 {
            let mut order: Vec<u32> = (0..203).collect();
            Stream::new(7, &format!("order of epoch {epoch}")).shuffle(&mut order);
            expected.extend(order);
        }
        let mut examples = single(&rows, Size::Examples(8), 1);
        for (step, expected) in (0..).zip(expected.chunks_exact(8)) {
            assert_eq!(names(&mut examples, step), expected, "step {step}");
        }
    }

    #[test]
    fn every_epoch_has_every_example_once_whatever_the_window() {
        let rows = rows();
        for length_window in [1, 3, 1000] {
            let mut examples = single(&rows, Size::Examples(29), length_window);
            let mut epoch = |first: u64| (first..first + 7).flat_map(|step| names(&mut examples, step)).collect();
            let (mut one, other): (Vec<u32>, Vec<u32>) = (epoch(0), epoch(7));
            assert_ne!(one, other);
            one.sort_unstable();
            assert_eq!(one, (0..203).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_length_window_saves_padding() {
        let rows = rows();
        let [plain, some, all] = [1, 8, 1000].map(|length_window| {
            let mut examples = single(&rows, Size::Examples(8), length_window);
            let padding = |step| {
                let batch = examples.batch(step).unwrap();
                let longest = batch.inputs.rows().map(<[u32]>::len).max().unwrap();
                batch.inputs.rows().map(|row| longest - row.len()).sum::<usize>()
            };
            (0..25).map(padding).sum::<usize>()
        });
        assert!(some * 2 < plain && all <= some, "{plain}, in windows of 8 batches {some}, of all {all}");
    }

    #[test]
    fn a_mixture_draws_its_tasks_by_their_rates_and_every_epoch_has_every_example_once() {
        let rows = rows();
        let mut examples = mixture(&rows, Size::Examples(20));
        let drawn: Vec<u32> = (0..100).flat_map(|step| names(&mut examples, step)).collect();
        let second: Vec<u32> = drawn.into_iter().filter(|row| *row >= 150).collect();
        assert!((450..550).contains(&second.len()), "a quarter of 2000, not {}", second.len());
        assert_ne!(second[..50], second[50..100]);
        for epoch in second.chunks_exact(50) {
            let mut epoch = epoch.to_vec();
            epoch.sort_unstable();
            assert_eq!(epoch, (150..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_batch_of_a_step_does_not_depend_on_what_was_asked_before() {
        let rows = rows();
        for size in [Size::Examples(9), Size::Tokens(120)] {
            for mixed in [false, true] {
                let start = || if mixed { mixture(&rows, size) } else { single(&rows, size, 1) };
                let mut examples = start();
                let batches: Vec<_> = (0..80).map(|step| examples.batch(step).unwrap()).collect();
                assert_eq!(start().batch(61).unwrap(), batches[61], "skipped to");
                assert_eq!(examples.batch(13).unwrap(), batches[13], "gone back to");
                assert_eq!(examples.batch(14).unwrap(), batches[14], "gone on from there");
            }
        }
    }

    #[test]
    fn batches_by_tokens_are_as_full_as_they_can_be() {
        let rows = rows();
        let tokens = |batch: &Batch| batch.inputs.ids().len() + batch.targets.ids().len();
        let mut examples = single(&rows, Size::Tokens(100), 1);
        let batches: Vec<_> = (0..60).map(|step| examples.batch(step).unwrap()).collect();
        for pair in batches.windows(2) {
            let next = pair[1].inputs.row(0).len() + pair[1].targets.row(0).len();
            assert!(tokens(&pair[0]) <= 100 && tokens(&pair[0]) + next > 100, "{} and {next}", tokens(&pair[0]));
        }
        let (mut one_by_one, mut plain) = (single(&rows, Size::Tokens(1), 1), single(&rows, Size::Examples(1), 1));
        for step in 0..300 {
            assert_eq!(
                one_by_one.batch(step).unwrap(),
                plain.batch(step).unwrap(),
                "at least one, in the order of epochs"
            );
        }
    }

    #[test]
    fn what_cannot_be_ordered_or_drawn_is_refused() {
        let rows = rows();
        let refused = |tasks, size, length_window, expected: &str| {
            let batching = Batching { size, length_window };
            let error = Examples::new(tasks, Mixing::default(), batching, 7).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(vec![pairs(&rows), Vec::new()], Size::Examples(4), 1, "`data` is without training rows");
        refused(vec![pairs(&rows), pairs(&rows)], Size::Examples(4), 2, "1 for a mixture");
        refused(vec![pairs(&rows)], Size::Tokens(4), 2, "1 for batches by tokens");
        refused(vec![pairs(&rows)], Size::Examples(0), 1, "`batch_size` is 0, expected 1 to 65536");
        refused(vec![pairs(&rows)], Size::Tokens(0), 1, "`batch_tokens` is 0, expected 1 to 16777216");
        refused(vec![pairs(&rows)], Size::Examples(4), 1 << 17, "`length_window` is 131072, expected 1 to 65536");
    }
}
