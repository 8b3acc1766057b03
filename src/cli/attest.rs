//! `spot attest`: what is known of results, signed, in the forms that other tools verify.

use super::keys::Sign;
use super::output::Output;
use super::runs::{self, Run};
use super::{Cache, show};
use crate::engine::signing::made;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::engine::store::signed::Signature;
use crate::engine::store::{Found, Store};
use crate::error::{Exit, Usage};
use crate::ui;
use anyhow::Context as _;
use clap::Args;
use std::collections::BTreeSet;

/// Arguments of `spot attest`.
#[derive(Args)]
pub(super) struct Attest {
    /// A job, a key or a digest as for `spot show`, or a run: its name in `spot log`, or `PIPELINE:last`
    #[arg(value_name = "KEY|RUN")]
    what: String,
    #[command(flatten)]
    sign: Sign,
    /// Keep the signatures in the cache too, as if a run with `--sign` had made the results: you vouch for what is there now
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    cache: Cache,
    #[command(flatten)]
    output: Output,
}

impl Attest {
    /// Runs the command.
    ///
    /// # Errors
    /// If no key is named, nothing is called that, or a result is damaged.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let unsigned = || Usage("say who signs, with `--sign KEY`; `spot keygen NAME` makes a key".to_owned());
        let signer = self.sign.signer()?.ok_or_else(unsigned)?;
        let store = self.cache.open();
        let catalog = Catalog::read(&store)?;
        if self.keep {
            signer.introduce(&store)?;
        }
        let mut lines = String::new();
        for key in self.keys(&store, &catalog)? {
            // Nothing is signed that is not what it was when it was made.
            let entry: Box<Entry> = match store.find(&key)? {
                Found::Hit(entry) => entry,
                Found::Damaged(mut damage) if !damage.is_empty() => return Err(damage.remove(0).into()),
                _ => return Err(Usage(format!("the result `{key}` is gone")).into()),
            };
            if let Some(output) = catalog.contradicted(&entry) {
                let job = &entry.provenance.job;
                let message =
                    format!("`{output}` of `{job}` is not what any run journaled that it made; see `spot audit`");
                return Err(Usage(message).into());
            }
            let text = store.entry_bytes(&key)?.context("an entry that was there a moment ago")?;
            let digest = Digest::of(&text);
            let envelope = signer.sign(&made::statement(&entry, &digest))?;
            if self.keep {
                let path = store.made_path(&key, signer.public(), &digest);
                store.keep_signature(&Signature { path, text: envelope.clone() })?;
            }
            lines += &envelope;
        }
        self.output.data(&lines)?;
        if self.keep {
            ui::remark(&format!("kept: {} signatures", lines.lines().count()));
        }
        Ok(Exit::Ok)
    }

    /// The results that are meant.
    fn keys(&self, store: &Store, catalog: &Catalog) -> anyhow::Result<BTreeSet<Key>> {
        if let Some(keys) = self.of_run(store)? {
            return Ok(keys);
        }
        let found = show::find(store, catalog, &self.what)?;
        Ok(found.entries.iter().map(|entry| entry.key).collect())
    }

    /// The results of a run, if it is one that is meant.
    fn of_run(&self, store: &Store) -> anyhow::Result<Option<BTreeSet<Key>>> {
        let all = runs::all(store)?;
        let named = |run: &Run| run.run == self.what || format!("{}:{}", run.pipeline, run.run) == self.what;
        let by_place = self.what.split_once(':').filter(|(_, run)| *run == "last" || run.starts_with("last~"));
        let run = match by_place {
            Some((pipeline, place)) => {
                let own: Vec<Run> = all.into_iter().filter(|run| run.pipeline == pipeline).collect();
                Some(runs::find(&own, pipeline, place)?.keys())
            }
            None => all.iter().find(|run| named(run)).map(Run::keys),
        };
        match run {
            Some(keys) if keys.is_empty() => Err(Usage(format!("the run `{}` has no results", self.what)).into()),
            run => Ok(run),
        }
    }
}
