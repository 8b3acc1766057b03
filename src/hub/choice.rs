//! Which files of a repository are needed: told by their names, or by what some of them say.

/// Decides which files of a repository are needed. A function of the names will do.
pub trait Choose: Send + Sync {
    /// The files that are needed of those that are offered.
    ///
    /// # Errors
    /// What is lacking.
    fn choose(&self, offer: &Offer<'_>) -> Result<Choice, String>;
}

/// Files of a repository at a commit.
pub struct Offer<'a> {
    /// Their names, sorted.
    pub names: &'a [String],
    /// Whether there are others.
    pub extent: Extent,
    read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

/// How many of the files of a commit are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that there are.
    Whole,
    /// Those that are on this machine; whether there are others, nobody said.
    Unknown,
    /// Those that are on this machine; others are still to come.
    Part,
}

/// Files that are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// These and no others.
    All(Vec<String>),
    /// These before all others: what is in them decides which others.
    First(Vec<String>),
}

impl<'a> Offer<'a> {
    /// Files with these names; `read` gives the content of a small one that is on this machine.
    pub fn new(names: &'a [String], extent: Extent, read: &'a dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        Self { names, extent, read }
    }

    /// The content of a file, if it is on this machine and small.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        (self.read)(name)
    }
}

impl<F: Fn(&[String]) -> Result<Vec<String>, String> + Send + Sync> Choose for F {
    fn choose(&self, offer: &Offer<'_>) -> Result<Choice, String> {
        self(offer.names).map(Choice::All)
    }
}
