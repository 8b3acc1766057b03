//! The array job: what Slurm is told, and what each of its workers is.

use crate::engine::store::digest::Digest;
use std::path::{Path, PathBuf};

/// Seconds before the time limit at which a worker is told to save its steps and leave.
const NOTICE: u32 = 60;

/// An array job of workers.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Script {
    /// The name of the pipeline.
    pub(in crate::cli) pipeline: String,
    /// The run that the workers do together.
    pub(in crate::cli) run: String,
    pub(in crate::cli) workers: u32,
    /// Of the manifests as they are now.
    pub(in crate::cli) manifests: Digest,
    /// What finds the array again whose number did not come back.
    pub(in crate::cli) mark: String,
    /// What the user has for `sbatch`.
    pub(in crate::cli) more: String,
    /// Where the project is.
    pub(in crate::cli) project: PathBuf,
    /// The folder of what workers print.
    pub(in crate::cli) logs: PathBuf,
    /// This program, and what each worker is told.
    pub(in crate::cli) program: PathBuf,
    pub(in crate::cli) arguments: Vec<String>,
}

impl Script {
    /// The command line of a worker.
    pub(in crate::cli) fn command(&self) -> String {
        let words = std::iter::once(self.program.display().to_string()).chain(self.arguments.iter().cloned());
        let words: Vec<String> = words.map(|word| quoted(&word)).collect();
        format!("{} --run {}", words.join(" "), self.run)
    }

    /// The job as `sbatch` reads it.
    pub(in crate::cli) fn text(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = self.pipeline.chars().map(plain).collect();
        let mut text = format!(
            "#!/bin/bash\n\
             #SBATCH --job-name=spot-{name}\n\
             #SBATCH --array=0-{}\n\
             #SBATCH --requeue\n\
             #SBATCH --signal=B:USR1@{NOTICE}\n\
             #SBATCH --open-mode=append\n\
             #SBATCH --comment={}\n\
             #SBATCH --output={}/%A_%a.log\n",
            self.workers - 1,
            self.mark,
            quoted_path(&self.logs),
        );
        if !self.more.is_empty() {
            text += &format!("#SBATCH {}\n", self.more);
        }
        // A signal that comes before the worker listens must not end it.
        text += &format!("trap '' USR1\ncd {} || exit 5\n", quoted(&self.project.display().to_string()));
        text + &format!("exec {}\n", self.command())
    }

    /// Whether the user lets the job begin later.
    pub(super) fn begins_later(&self) -> bool {
        self.more.split_whitespace().any(|word| word.starts_with("--be") || word.starts_with("-b"))
    }

    /// Makes the folder of what workers print, without which Slurm fails them.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn prepare(&self) -> std::io::Result<()> {
        fs_err::create_dir_all(&self.logs)
    }
}

/// What the user has for `sbatch`, in one line.
///
/// # Errors
/// If it would be no option of the job, or one that is not the user's to choose.
pub(super) fn arguments(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains(['\n', '\r', '\0']) {
        return Err("expected one line".to_owned());
    }
    if !text.is_empty() && !text.starts_with('-') {
        return Err(format!("`{text}` is no option of `sbatch`; expected such as `--partition=gpu --time=8:00:00`"));
    }
    // `sbatch` takes the beginning of an option for the option, as far as no other begins so.
    let taken =
        ["--ar", "--wr", "--sig", "--pars", "--out", "--open", "--job-n", "--no-r", "--comm", "-a", "-W", "-o", "-J"];
    let is_taken = |word: &str| word == "--wait" || taken.iter().any(|taken| word.starts_with(taken));
    match text.split_whitespace().find(|word| is_taken(word)) {
        Some(word) => Err(format!("`{word}` is decided by `spot`: the size of the array by `--workers`")),
        None => Ok(text.to_owned()),
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A path for `sbatch`, which takes `%` for a pattern.
fn quoted_path(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    if text.contains([' ', '"']) { format!("\"{}\"", text.replace('"', "\\\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script {
            pipeline: "spot glue".to_owned(),
            run: "slurm-1".to_owned(),
            workers: 16,
            manifests: Digest::of(b""),
            mark: "spot-7".to_owned(),
            more: "--partition=gpu --time=8:00:00".to_owned(),
            project: "/home/me/it's mine".into(),
            logs: "/home/me/cache/v1/slurm".into(),
            program: "/opt/spot".into(),
            arguments: ["run", "p.yaml", "--worker", "--set", "vars.a=[1, 2]"].map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn the_job_is_an_array_of_workers() {
        let text = script().text();
        assert_eq!(
            text,
            "#!/bin/bash\n#SBATCH --job-name=spot-spot-glue\n#SBATCH --array=0-15\n#SBATCH --requeue\n#SBATCH --signal=B:USR1@60\n\
             #SBATCH --open-mode=append\n#SBATCH --comment=spot-7\n#SBATCH --output=/home/me/cache/v1/slurm/%A_%a.log\n\
             #SBATCH --partition=gpu --time=8:00:00\ntrap '' USR1\ncd '/home/me/it'\\''s mine' || exit 5\n\
             exec /opt/spot run p.yaml --worker --set 'vars.a=[1, 2]' --run slurm-1\n"
        );
    }

    #[test]
    fn what_would_be_another_job_is_refused() {
        let usual = "--partition=gpu --gres=gpu:1 --time=8:00:00";
        assert_eq!(arguments(&format!(" {usual} ")).unwrap(), usual);
        for bad in ["gpu", "--array=0-3", "-a 3", "-a0-3", "--arr=1", "--time=1\n#SBATCH --x", "--wait", "-o x"] {
            assert!(arguments(bad).is_err(), "{bad}");
        }
    }
}
