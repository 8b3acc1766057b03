//! Batches of token ids without padding.

/// Rows of different lengths, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ragged {
    ids: Vec<u32>,
    starts: Vec<usize>,
}

impl Default for Ragged {
    fn default() -> Self {
        Self { ids: Vec::new(), starts: vec![0] }
    }
}

impl Ragged {
    /// Appends a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = u32>) {
        self.ids.extend(row);
        self.starts.push(self.ids.len());
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[u32] {
        &self.ids[self.starts[i]..self.starts[i + 1]]
    }

    /// All rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.starts.windows(2).map(|bounds| &self.ids[bounds[0]..bounds[1]])
    }

    /// All ids, row after row.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Where each row begins, and at last where the last one ends.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }
}

impl<R: IntoIterator<Item = u32>> FromIterator<R> for Ragged {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        let mut ragged = Self::default();
        rows.into_iter().for_each(|row| ragged.push(row));
        ragged
    }
}

/// Examples of one step, of one or several runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Which run each example belongs to, and so which prompt leads it, `[B]`.
    pub run: Vec<usize>,
    /// Token ids of the texts, with the closing eos, `[B]` rows of T.
    pub inputs: Ragged,
    /// Token ids of the answers, with the closing eos.
    pub targets: Ragged,
}

impl Batch {
    /// Appends an example of `run`.
    pub fn push(&mut self, run: usize, input: &[u32], target: &[u32]) {
        self.run.push(run);
        self.inputs.push(input.iter().copied());
        self.targets.push(target.iter().copied());
    }

    /// B.
    pub fn len(&self) -> usize {
        self.run.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.run.is_empty()
    }
}
