//! Dynamic batching: what several runs ask of one frozen model at the same time is computed together.
//!
//! A run asks its [`Client`] for gradients or texts and waits. Requests are cut into micro-batches; *workers*, threads with an
//! engine each, take as many micro-batches as fit their share of the memory and answer them in one forward and backward pass. So
//! prompts of different tasks, seeds and lengths learn in one batch; a run that ends leaves and one that begins joins
//! between two batches, and no run waits for another's evaluation.
//!
//! On the CPU every row is computed as if it were alone ([`kernels`](super::model::cpu::kernels)), and gradients are summed in the order
//! of a request's examples, so the answer to a request is the same to the bit whatever shares its batches and however
//! many workers there are.

use super::error::{Error, Result};
use super::generate::{Generation, LabelScore};
use super::model::batch::{Batch, Ragged};
use super::model::cpu::Loss;
use super::model::{CrossEntropy, Dropout};
use super::model::{Dims, Engine, Layout, Precision, Rows, Weights, devices};
use crate::panic::lock;
use crate::panic::message;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where and how a [`Batcher`] computes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `cpu`, `cuda:0`, `cuda:0,1`: see [`devices`] and [`Engine::on`].
    pub device: String,
    /// Threads on a CPU, a worker each; other devices have one worker each.
    pub threads: usize,
    /// Bytes that the activations of all workers together may take. A GPU's worker takes what is free of its own memory.
    pub memory: usize,
}

/// Rows that a worker takes at most on a CPU: a matrix that is laid out once should serve many, but activations need memory.
const ROWS: usize = 2048;
/// Rows that a worker takes at most on a GPU, which needs many to be busy.
const DEVICE_ROWS: usize = 32 * 1024;
/// A free worker waits so small a part of the time of a batch for runs that are about to ask, to take them along.
const PATIENCE: u32 = 50;
/// A request is not cut into micro-batches of fewer rows.
const FEWEST_ROWS: usize = 64;
/// If fewer rows than these fit in the memory, activations are computed twice: matrices would be laid out for too few.
const WORTHWHILE_ROWS: usize = 256;

/// A frozen model that answers the requests of any number of runs.
pub struct Batcher {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// One run's access to a [`Batcher`].
pub struct Client {
    shared: Arc<Shared>,
    run: Arc<Run>,
}

/// A run as the others see it.
struct Run {
    name: Arc<str>,
    /// The names of those that shared a batch with it.
    batched_with: Mutex<BTreeSet<Arc<str>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do, or nothing more will come.
    news: Condvar,
    workers: usize,
    /// Bytes that the activations of a worker may take, once all workers are there.
    memory: OnceLock<usize>,
    /// Whether the examples of a micro-batch share a gradient; on a CPU each has its own, so that sums have one order.
    joint: bool,
    /// Sizes of the model.
    dims: Dims,
    /// Where its parameters lie.
    layout: Layout,
    /// In which activations are saved for the backward pass. On a GPU they are planned with as if in f32: in bf16 there are as many
    /// copies more.
    precision: Precision,
}

struct Queue {
    micro_batches: VecDeque<MicroBatch>,
    closed: bool,
    /// Runs that have access, and those of them that wait for an answer.
    clients: usize,
    asking: usize,
    /// How long the last batch took.
    last: Duration,
    /// Rows that a worker takes at most; follows from what the longest example so far needs.
    rows: usize,
    /// Activations are computed again rather than saved, since too few rows would fit.
    recompute: bool,
}

/// Some neighbouring examples of a request, which are computed in one pass.
struct MicroBatch {
    request: Arc<Request>,
    examples: Range<usize>,
    rows: usize,
}

struct Request {
    ask: Ask,
    /// Target tokens that an example has at most, with those of all labels.
    longest: usize,
    /// `[P, E]`.
    prompt: Vec<f32>,
    run: Arc<Run>,
    answer: Mutex<Answer>,
    done: Condvar,
}

/// What is asked about `[B]` examples, whose inputs are ragged rows of T ids.
enum Ask {
    /// Loss and gradient of the prompt for each.
    Gradients { batch: Batch, settings: CrossEntropy, dropout: Option<Dropout> },
    /// An answer to each, of at most `longest` ids; `streams` are `[B]`.
    Texts { inputs: Ragged, streams: Vec<u64>, longest: usize, generation: Generation },
    /// The likelihood of each of L labels for each.
    Labels { inputs: Ragged, labels: Ragged },
}

#[derive(Default)]
struct Answer {
    /// Examples that no worker has answered yet.
    open: usize,
    error: Option<Error>,
    /// `[B]`: for each example its loss, and the gradient of its prompt, `[P, E]`.
    learned: Vec<(Loss, Vec<f32>)>,
    /// `[B]` answers as ids.
    texts: Vec<Vec<u32>>,
    /// `[B, L]`.
    scores: Vec<Vec<LabelScore>>,
}

impl Batcher {
    /// Starts the workers.
    ///
    /// # Errors
    /// If this program or this machine has no such device.
    pub fn start(weights: &Arc<Weights>, settings: &Settings) -> Result<Self> {
        let cpu = settings.device == "cpu";
        let devices = if cpu { vec!["cpu".to_owned(); settings.threads.max(1)] } else { devices(&settings.device) };
        let queue = Queue {
            micro_batches: VecDeque::new(),
            closed: false,
            clients: 0,
            asking: 0,
            last: Duration::ZERO,
            rows: if cpu { ROWS } else { DEVICE_ROWS },
            recompute: false,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            news: Condvar::new(),
            workers: devices.len(),
            memory: OnceLock::new(),
            joint: !cpu,
            dims: weights.dims.clone(),
            layout: weights.layout.clone(),
            precision: if cpu { weights.precision() } else { Precision::F32 },
        });
        let (ready, started) = mpsc::channel();
        let mut batcher = Self { shared: shared.clone(), workers: Vec::new() };
        for (worker, device) in devices.into_iter().enumerate() {
            let (shared, weights, ready) = (shared.clone(), weights.clone(), ready.clone());
            let body = move || {
                let engine = Engine::on(&device, &weights);
                match engine.and_then(|engine| Ok((engine.free_memory()?, engine))) {
                    Ok((memory, engine)) => {
                        drop(ready.send(Ok(memory)));
                        shared.work(engine);
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            };
            let thread = std::thread::Builder::new().name(format!("worker {worker}")).spawn(body);
            batcher.workers.push(thread.map_err(|error| Error::Worker(format!("failed to start a thread: {error}")))?);
        }
        drop(ready);
        let mut free = Vec::new();
        for _ in 0..shared.workers {
            free.extend(started.recv().map_err(|_| Error::Worker("a worker did not start".to_owned()))??);
        }
        // What is not an activation needs room as well.
        let memory = free.into_iter().min().map_or(settings.memory / shared.workers, |free| free / 4 * 3);
        shared.memory.get_or_init(|| memory);
        Ok(batcher)
    }

    /// Access for the run called `name`.
    pub fn client(&self, name: &str) -> Client {
        lock(&self.shared.queue).clients += 1;
        Client { shared: self.shared.clone(), run: Arc::new(Run { name: name.into(), batched_with: Mutex::default() }) }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.news.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its work; one of its own has been printed.
            drop(worker.join());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        lock(&self.shared.queue).clients -= 1;
    }
}

impl Client {
    /// Loss of a batch (whose runs are not looked at), and the gradient of the sum of its losses with respect to the
    /// prompt; both prompt and gradient are `[P, E]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn gradients(
        &self,
        prompt: &[f32],
        batch: Batch,
        settings: CrossEntropy,
        dropout: Option<Dropout>,
    ) -> Result<(Loss, Vec<f32>)> {
        let rows = batch.inputs.rows().zip(batch.targets.rows()).map(|(input, target)| (input.len(), target.len()));
        let rows: Vec<(usize, usize)> = rows.collect();
        let answer = self.ask(prompt, Ask::Gradients { batch, settings, dropout }, &rows)?;
        let (mut total, mut gradient) = (Loss::default(), vec![0.0; prompt.len()]);
        for (loss, d_prompt) in answer.learned {
            total.sum += loss.sum;
            total.tokens += loss.tokens;
            gradient.iter_mut().zip(d_prompt).for_each(|(sum, d)| *sum += d);
        }
        Ok((total, gradient))
    }

    /// An answer to each input, without the closing eos; at most `longest` ids. `streams` is what samples are drawn from,
    /// `[B]`; `prompt` is `[P, E]`.
    ///
    /// # Errors
    /// If the device fails or cannot generate in this way.
    pub fn generate(
        &self,
        prompt: &[f32],
        inputs: Ragged,
        streams: Vec<u64>,
        longest: usize,
        generation: Generation,
    ) -> Result<Vec<Vec<u32>>> {
        let rows: Vec<(usize, usize)> = inputs.rows().map(|input| (input.len(), longest)).collect();
        Ok(self.ask(prompt, Ask::Texts { inputs, streams, longest, generation }, &rows)?.texts)
    }

    /// The likelihood of every label (ids with eos) for every input, `[B, L]`; `prompt` is `[P, E]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn label_scores(&self, prompt: &[f32], inputs: Ragged, labels: Ragged) -> Result<Vec<Vec<LabelScore>>> {
        let rows: Vec<(usize, usize)> = inputs.rows().map(|input| (input.len(), labels.ids().len())).collect();
        Ok(self.ask(prompt, Ask::Labels { inputs, labels }, &rows)?.scores)
    }

    /// The other runs that shared a batch with this one.
    pub fn batched_with(&self) -> Vec<String> {
        lock(&self.run.batched_with).iter().map(ToString::to_string).collect()
    }

    /// Hands a request to the workers and waits for the answer. `rows`: those of each example's text and of its targets.
    fn ask(&self, prompt: &[f32], ask: Ask, rows: &[(usize, usize)]) -> Result<Answer> {
        let examples = rows.len();
        let answer = match &ask {
            Ask::Gradients { .. } => Answer { learned: vec![Default::default(); examples], ..Answer::default() },
            Ask::Texts { .. } => Answer { texts: vec![Vec::new(); examples], ..Answer::default() },
            Ask::Labels { .. } => Answer { scores: vec![Vec::new(); examples], ..Answer::default() },
        };
        let answer = Mutex::new(Answer { open: examples, ..answer });
        let longest = rows.iter().map(|(_, targets)| *targets).max().unwrap_or(0);
        let (prompt, run) = (prompt.to_vec(), self.run.clone());
        let request = Request { ask, longest, prompt, run, answer, done: Condvar::new() };
        let request = Arc::new(request);
        self.shared.submit(&request, rows);
        let mut answer = lock(&request.answer);
        while answer.open > 0 {
            answer = request.done.wait(answer).unwrap_or_else(PoisonError::into_inner);
        }
        lock(&self.shared.queue).asking -= 1;
        match answer.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut *answer)),
        }
    }
}

impl Shared {
    /// Cuts a request into micro-batches of about equal size.
    fn submit(&self, request: &Arc<Request>, rows: &[(usize, usize)]) {
        let prompt = request.prompt.len() / self.dims.width;
        let sizes: Vec<usize> = rows.iter().map(|(text, targets)| prompt + text + targets).collect();
        let mut queue = lock(&self.queue);
        queue.asking += 1;
        if let Some((text, targets)) = rows.iter().max_by_key(|(text, targets)| text + targets) {
            self.fit(&mut queue, Rows { examples: 1, encoder: prompt + text, decoder: *targets });
        }
        for examples in cut(&sizes, self.workers, queue.rows) {
            let rows = sizes[examples.clone()].iter().sum();
            queue.micro_batches.push_back(MicroBatch { request: request.clone(), examples, rows });
        }
        drop(queue);
        self.news.notify_all();
    }

    /// Adapts what a worker takes to an example of this length: fewer rows, or activations that are computed twice.
    fn fit(&self, queue: &mut Queue, one: Rows) {
        let fitting = |recompute| {
            let bytes = self.dims.activation_bytes(&self.layout, one, self.precision, recompute, true);
            let bytes = bytes / (one.encoder + one.decoder).max(1);
            self.memory.get().expect("requests come after the start") / bytes.max(1)
        };
        queue.recompute |= fitting(false) < WORTHWHILE_ROWS;
        queue.rows = queue.rows.min(fitting(queue.recompute)).max(1);
    }

    /// The life of a worker.
    fn work(&self, mut engine: Engine<'_>) {
        // Kernels use the threads of the pool that they run in; a worker is one thread.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        while let Some((micro_batches, recompute)) = self.take() {
            engine.recompute(recompute);
            engine.expect(micro_batches[0].request.longest);
            let start = Instant::now();
            let mut compute = || Together::of(&micro_batches, self.joint).compute(&mut engine);
            let outcome = match &pool {
                Ok(pool) => catch_unwind(AssertUnwindSafe(|| pool.install(&mut compute))),
                Err(error) => Ok(Err(Error::Worker(format!("failed to start a thread: {error}")))),
            };
            let outcome = outcome.unwrap_or_else(|panic| Err(Error::Worker(format!("panicked: {}", message(&*panic)))));
            lock(&self.queue).last = start.elapsed();
            Together::answer(micro_batches, outcome);
        }
    }

    /// Whether one pass can answer both.
    fn go_together(&self, one: &Request, other: &Request) -> bool {
        one.ask.goes_with(&other.ask) && self.dims.absorbs(one.longest) == self.dims.absorbs(other.longest)
    }

    /// Waits for work: the oldest micro-batch and others that can be computed with it, and whether to save memory.
    fn take(&self) -> Option<(Vec<MicroBatch>, bool)> {
        let mut queue = lock(&self.queue);
        let mut patience = None;
        loop {
            let waiting: usize = queue.micro_batches.iter().map(|micro_batch| micro_batch.rows).sum();
            if waiting > 0 && waiting < queue.rows && queue.asking < queue.clients {
                let now = Instant::now();
                let end = *patience.get_or_insert(now + queue.last / PATIENCE);
                if now < end {
                    queue = self.news.wait_timeout(queue, end - now).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            }
            if let Some(first) = queue.micro_batches.pop_front() {
                let alike = |micro_batch: &MicroBatch| self.go_together(&micro_batch.request, &first.request);
                let waiting = 1 + queue.micro_batches.iter().filter(|micro_batch| alike(micro_batch)).count();
                // Leave the other workers their share.
                let most = waiting.div_ceil(self.workers);
                let mut rows = first.rows;
                let mut taken = vec![first];
                let mut at = 0;
                while taken.len() < most && at < queue.micro_batches.len() {
                    let micro_batch = &queue.micro_batches[at];
                    if rows + micro_batch.rows <= queue.rows
                        && self.go_together(&micro_batch.request, &taken[0].request)
                    {
                        rows += micro_batch.rows;
                        taken.extend(queue.micro_batches.remove(at));
                    } else {
                        at += 1;
                    }
                }
                return Some((taken, queue.recompute));
            }
            if queue.closed {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Cuts examples of these rows into micro-batches of about equal size: as many for each worker, so that all are done at one time, and
/// none of more than `most` rows, but for an example that has more by itself.
fn cut(sizes: &[usize], workers: usize, most: usize) -> Vec<Range<usize>> {
    let total: usize = sizes.iter().sum();
    let workers = workers.min(total / FEWEST_ROWS).max(1);
    let shares = workers * total.div_ceil(workers * most).max(1);
    let mut micro_batches = Vec::new();
    let (mut start, mut done, mut before, mut share) = (0, 0, 0, 1);
    for (i, size) in sizes.iter().enumerate() {
        done += size;
        let next = sizes.get(i + 1).copied();
        let is_full = next.is_some_and(|next| done - before + next > most);
        // The end that is nearest to that of the share, rather this example's than the next one's.
        let is_share = done + next.unwrap_or(0) / 2 >= share * total / shares;
        if next.is_none() || is_full || is_share {
            micro_batches.push(start..i + 1);
            (start, before) = (i + 1, done);
            share = (share + usize::from(is_share)).min(shares);
        }
    }
    micro_batches
}

impl Ask {
    /// Whether both can be answered by one pass.
    fn goes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Gradients { settings, dropout, .. },
                Self::Gradients { settings: other, dropout: other_dropout, .. },
            ) => {
                let kind = |dropout: &Option<Dropout>| dropout.as_ref().map(|dropout| (dropout.rate, dropout.sharing));
                settings == other && kind(dropout) == kind(other_dropout)
            }
            (
                Self::Texts { longest, generation, .. },
                Self::Texts { longest: other, generation: other_generation, .. },
            ) => longest == other && generation == other_generation,
            (Self::Labels { labels, .. }, Self::Labels { labels: other, .. }) => labels == other,
            _ => false,
        }
    }
}

/// Micro-batches that a worker answers in one pass. Each example is a run of its own, so that its gradient stands alone, or each
/// micro-batch is one.
struct Together<'a> {
    /// R prompts, `[P, E]` each.
    prompts: Vec<&'a [f32]>,
    /// Examples of R runs.
    batch: Batch,
    dropout: Option<Dropout>,
    streams: Vec<u64>,
    ask: &'a Ask,
}

/// The answers to the `[B]` examples of some micro-batches, one after the other.
enum Answers {
    /// Loss and gradient of the prompt, `[P, E]`.
    Learned(Vec<(Loss, Vec<f32>)>),
    /// Ids.
    Texts(Vec<Vec<u32>>),
    /// `[B, L]`.
    Scores(Vec<Vec<LabelScore>>),
}

impl<'a> Together<'a> {
    fn of(micro_batches: &'a [MicroBatch], joint: bool) -> Self {
        let ask = &micro_batches[0].request.ask;
        let mut together =
            Self { prompts: Vec::new(), batch: Batch::default(), dropout: None, streams: Vec::new(), ask };
        if let Ask::Gradients { dropout: Some(dropout), .. } = ask {
            together.dropout = Some(Dropout { keys: Vec::new(), ..*dropout });
        }
        for MicroBatch { request, examples, .. } in micro_batches {
            for i in examples.clone() {
                if !joint || i == examples.start {
                    together.prompts.push(&request.prompt);
                }
                let run = together.prompts.len() - 1;
                match &request.ask {
                    Ask::Gradients { batch, dropout, .. } => {
                        together.batch.push(run, batch.inputs.row(i), batch.targets.row(i));
                        if let (Some(all), Some(own)) = (&mut together.dropout, dropout) {
                            all.keys.push(own.keys[i]);
                        }
                    }
                    Ask::Texts { inputs, streams, .. } => {
                        together.batch.push(run, inputs.row(i), &[]);
                        together.streams.extend(streams.get(i));
                    }
                    Ask::Labels { inputs, .. } => together.batch.push(run, inputs.row(i), &[]),
                }
            }
            for other in micro_batches {
                let (name, run) = (&other.request.run.name, &request.run);
                if *name != run.name {
                    lock(&run.batched_with).insert(name.clone());
                }
            }
        }
        together
    }

    fn compute(&self, engine: &mut Engine<'_>) -> Result<Answers> {
        let Batch { run, inputs, .. } = &self.batch;
        match self.ask {
            Ask::Gradients { settings, .. } => {
                let mut d_prompts: Vec<Vec<f32>> = self.prompts.iter().map(|prompt| vec![0.0; prompt.len()]).collect();
                let dropout = self.dropout.as_ref();
                let losses = engine.gradients(&self.prompts, &self.batch, *settings, dropout, &mut d_prompts)?;
                // What the examples of a run have in common is the first one's.
                let mut learned = vec![Default::default(); run.len()];
                for (i, found) in losses.into_iter().zip(d_prompts).enumerate() {
                    learned[run.partition_point(|run| *run < i)] = found;
                }
                Ok(Answers::Learned(learned))
            }
            Ask::Texts { longest, generation, .. } => {
                let texts = engine.generate(&self.prompts, run, inputs, &self.streams, *longest, generation)?;
                Ok(Answers::Texts(texts))
            }
            Ask::Labels { labels, .. } => {
                Ok(Answers::Scores(engine.label_scores(&self.prompts, run, inputs, labels)?))
            }
        }
    }

    /// Hands each request its part of the outcome.
    fn answer(micro_batches: Vec<MicroBatch>, outcome: Result<Answers>) {
        let (mut learned, mut texts, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        let mut failure = None;
        match outcome {
            Ok(Answers::Learned(answers)) => learned = answers,
            Ok(Answers::Texts(answers)) => texts = answers,
            Ok(Answers::Scores(answers)) => scores = answers,
            Err(error) => failure = Some(error.to_string()),
        }
        let mut first = 0;
        for MicroBatch { request, examples, .. } in micro_batches {
            let mut answer = lock(&request.answer);
            answer.open -= examples.len();
            if let Some(error) = &failure {
                answer.error = Some(Error::Worker(error.clone()));
            }
            give(&mut answer.learned, &mut learned, &examples, first);
            give(&mut answer.texts, &mut texts, &examples, first);
            give(&mut answer.scores, &mut scores, &examples, first);
            first += examples.len();
            if answer.open == 0 {
                request.done.notify_all();
            }
        }
    }
}

/// Moves the answers from `first` on, if there are any of this kind, to the places of `examples`.
fn give<T: Default>(places: &mut [T], answers: &mut [T], examples: &Range<usize>, first: usize) {
    if let Some(answers) = answers.get_mut(first..first + examples.len()) {
        let places = places[examples.clone()].iter_mut();
        places.zip(answers).for_each(|(place, answer)| *place = std::mem::take(answer));
    }
}

#[cfg(test)]
mod tests;
