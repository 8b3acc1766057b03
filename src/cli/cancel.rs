//! `spot cancel`: asks all workers of a pipeline to save their steps and leave, wherever they are.

use super::sharing::{Places, home};
use super::slurm::{Array, Queue};
use crate::engine::sharing::Access;
use crate::engine::stage::Kind;
use crate::error::Exit;
use crate::remote::lease::{cancel, workers};
use crate::ui;
use clap::Args;

/// Arguments of `spot cancel`.
#[derive(Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    pub(super) places: Places,
}

impl Cancel {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, or the place where workers are known, or Slurm, cannot be asked.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.places.pipeline.load(kinds)?;
        let store = self.places.cache.open();
        let home = home(self.places.shared.open(Access::Write)?.as_ref(), &store);
        let mut asked = 0;
        for (worker, _) in workers(&*home)?.into_iter().filter(|(worker, _)| worker.pipeline == plan.name) {
            cancel(&*home, &worker.worker)?;
            asked += 1;
        }
        let mut text = format!(
            "asked {asked} workers to save their steps and leave, which they do within 20 s (a third of a lease)"
        );
        if let Some(array) = Array::last(&*home, &plan.name)? {
            let queue = Queue::of(&array)?;
            if !queue.is_empty() {
                Queue::cancel(array.id)?;
                text += &format!("; cancelled the Slurm array {}: {}", array.id, queue.in_words());
            }
        }
        ui::print(&text)?;
        Ok(Exit::Ok)
    }
}
