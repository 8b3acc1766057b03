//! `query`: SQL over the rows of a split, before anything is made of them.

use super::description::Tables;
use crate::data::{Framed, Layout, Query, ROWS};
use crate::engine::manifest::problem::listed;
use crate::ml::tasks::{Cell, Dialect, Sheet, Split, Wanted, Whole};
use anyhow::{Context, anyhow, ensure};

/// A query, and what it is over beside the rows of a split.
pub(super) struct Asked {
    query: Query,
    others: Vec<(String, Framed)>,
    /// The columns of the training rows.
    columns: Vec<String>,
}

impl Asked {
    pub(super) fn new(query: Query, others: Vec<(String, Framed)>) -> Self {
        Self { query, others, columns: Vec::new() }
    }

    /// What the query makes of the rows of a split. A test split may lack columns that the training rows have: they are empty.
    ///
    /// # Errors
    /// If the query has no answer, or that lacks a wanted column.
    pub(super) fn sheet(
        &mut self,
        mut rows: Whole,
        split: Split,
        wanted: &[Wanted<'_>],
        warn: &dyn Fn(&str),
    ) -> anyhow::Result<Sheet> {
        if split == Split::Test {
            let names: Vec<&String> =
                rows.columns.iter().map(|(name, _)| name).chain(rows.odd.iter().map(|(name, _)| name)).collect();
            let lacking: Vec<String> = self.columns.iter().filter(|name| !names.contains(name)).cloned().collect();
            if !lacking.is_empty() {
                let shown = listed(lacking.iter().map(String::as_str));
                warn(&format!(
                    "the test rows have no {shown}, which the training rows have; in `query` they are null there"
                ));
            }
            let count = rows.rows();
            rows.columns.extend(lacking.into_iter().map(|name| (name, vec![Cell::Missing; count])));
        } else if split == Split::Train {
            self.columns = rows.columns.iter().map(|(name, _)| name.clone()).collect();
        }
        let others = self.others.iter().map(|(name, framed)| (name.as_str(), framed.clone()));
        let tables: Vec<(&str, Framed)> = [(ROWS, Framed::of(rows)?)].into_iter().chain(others).collect();
        let told = || format!("`query`, of the rows of the {} split", split.name());
        let columns = self.query.run(&tables).with_context(told)?;
        Sheet::from_columns(&columns, wanted)
            .with_context(|| format!("what `query` gives of the {} split", split.name()))
    }
}

/// Bytes of the files that a query is over: those of a split, or of another table.
const LONGEST: u64 = 1 << 30;

/// All columns of files whose rows follow each other.
///
/// # Errors
/// If the files are too long for memory, one is damaged, or has other columns than those before it; objects of JSON may.
pub(super) fn whole(files: &Tables<'_>, dialect: Dialect<'_>) -> anyhow::Result<Whole> {
    let mut size = 0;
    for (name, file) in files {
        size += file.open()?.metadata()?.len();
        ensure!(
            size <= LONGEST,
            "`{name}`: with it the rows of `query` have {size} bytes, of which {LONGEST} may be held in memory; leave out `query`, or make \
             smaller tables in a `command`"
        );
    }
    let mut all: Option<(Layout, Whole)> = None;
    for (name, file) in files {
        let layout = Layout::of(name).with_context(|| format!("`{name}`: expected {}", Layout::ENDINGS))?;
        let more = layout.read_whole(name, &file.bytes()?, dialect).with_context(|| format!("`{name}`"))?;
        all = Some(match all {
            None => (layout, more),
            Some((first, mut known)) => {
                ensure!(
                    first == layout,
                    "`{}` and `{name}` are laid out in two ways; say which is meant by a pattern with the ending",
                    files[0].0
                );
                known.append(more, layout == Layout::JsonLines).map_err(|why| anyhow!("`{name}` {why}"))?;
                (layout, known)
            }
        });
    }
    Ok(all.map(|(_, whole)| whole).unwrap_or_default())
}
