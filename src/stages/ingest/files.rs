//! Files of published data sets: `from: {files: …}`. What can be read line by line goes through in pieces.

use super::rows::{Keeping, Part, Rows, still_wanted};
use super::{Left, part};
use crate::data::{Lines, unpacked};
use crate::engine::context::{Artifact, Cx};
use crate::engine::input::FileInput;
use crate::ml::tasks::{self, FileInPieces, LeftOut, Read, Reading, Split, Task};
use crate::stages::pace::RowPace;
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files of a published data set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    /// Task and layout: `glue/mnli`, `superglue/cb`, `squad`. Files may be packed with gzip or zstd.
    pub(super) format: String,
    /// Name of the task in mixtures, rankings and reports; by default that of the format. Inputs, labels and metrics stay those of
    /// the format, the word in front of the inputs too. Two data sets of one study need two names: RTE is in GLUE and in SuperGLUE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Training examples.
    #[serde(skip_serializing)]
    pub(super) train: FileInput,
    /// Examples on which checkpoints are chosen.
    #[serde(default, skip_serializing)]
    pub(super) validation: Option<FileInput>,
    /// Held-out examples; they may hide their answers.
    #[serde(default, skip_serializing)]
    pub(super) test: Option<FileInput>,
}

/// The first bytes of a Parquet file.
const PARQUET: &[u8] = b"PAR1";

/// Bytes of a file that is read as a whole; more is a mistake, or for a table.
const LONGEST: u64 = 1 << 30;

impl Files {
    /// The task of the format, by the name that it has here.
    pub(super) fn task(&self) -> Option<Task> {
        let task = tasks::task(&self.format)?;
        Some(match &self.name {
            Some(name) if *name != task.name => Task { name: name.clone(), format: Some(task.name.clone()), ..task },
            _ => task,
        })
    }

    /// The same of a manifest that was checked.
    ///
    /// # Errors
    /// If there is no such format.
    pub(super) fn known(&self) -> anyhow::Result<Task> {
        self.task().with_context(|| format!("no format `{}`", self.format))
    }

    /// The examples by split, and which rows were left out, which is warned of.
    ///
    /// # Errors
    /// If a file is not in the format.
    pub(super) fn parts<'o>(&self, cx: &Cx<'_>, reading: &Reading) -> anyhow::Result<(Vec<Part<'o>>, Left)> {
        let paths = [Some(&self.train), self.validation.as_ref(), self.test.as_ref()];
        let (mut parts, mut left, mut pace) = (Vec::new(), Left::new(), RowPace::new());
        for (split, path) in Split::ALL.into_iter().zip(paths) {
            let Some(path) = path else { continue };
            let artifact = cx.one(&format!("from.files.{}", split.name()))?;
            let read = self.rows(cx, artifact, (path.name(), split, reading), &mut pace);
            let (rows, left_out) = read.with_context(|| format!("`{path}`"))?;
            for LeftOut { rows: count, why } in &left_out {
                let all = rows.len() + count;
                cx.progress().warn(&format!("`{path}`: {count} of {all} rows are left out; {why}"));
            }
            parts.push(part(cx, split, rows)?);
            left.extend(left_out.into_iter().map(|left| (split, left)));
        }
        Ok((parts, left))
    }

    /// The examples of a file: in a file of their own if it is read line by line, otherwise in memory.
    fn rows<'o>(
        &self,
        cx: &Cx<'_>,
        artifact: &Artifact,
        (name, split, reading): (&str, Split, &Reading),
        pace: &mut RowPace,
    ) -> anyhow::Result<(Rows<'o>, Vec<LeftOut>)> {
        if let Some(pieces) = FileInPieces::new(&self.format, split, reading.prefix)?
            && let Some(read) = self.in_pieces(cx, artifact, name, pieces, pace)?
        {
            return Ok(read);
        }
        let size = artifact.open()?.metadata()?.len();
        ensure!(
            size <= LONGEST,
            "has {size} bytes; a file that is read as a whole may have {LONGEST}. `from: {{table: …}}` reads larger ones: JSON with an object \
             on each line"
        );
        let bytes = artifact.bytes()?;
        let bytes = unpacked(&bytes, name)?;
        self.check(&bytes)?;
        let Read { examples, left_out } = tasks::read_file(&self.format, &bytes, split, reading)?;
        Ok((Rows::Held(examples), left_out))
    }

    /// The examples of a file that is read line by line; `None` if it cannot be.
    fn in_pieces<'o>(
        &self,
        cx: &Cx<'_>,
        artifact: &Artifact,
        name: &str,
        mut pieces: FileInPieces,
        pace: &mut RowPace,
    ) -> anyhow::Result<Option<(Rows<'o>, Vec<LeftOut>)>> {
        let (file, task) = (artifact.open()?, self.known()?);
        if Lines::are_an_array(name, &file)? {
            return Ok(None);
        }
        let mut lines = Lines::open(name, &file)?;
        let mut keeping = Keeping::new(pieces.may_repeat_ids(), cx.scratch()?)?;
        let mut left_out: Vec<LeftOut> = Vec::new();
        while let Some((first, bytes, is_last)) = lines.read()? {
            if first == 1 {
                self.check(&bytes)?;
            }
            let Some(read) = pieces.take(&bytes, is_last)? else { return Ok(None) };
            keeping.take(&read.examples, |example| task.knows(example))?;
            for more in read.left_out {
                match left_out.iter_mut().find(|known| known.why == more.why) {
                    Some(known) => known.rows += more.rows,
                    None => left_out.push(more),
                }
            }
            pace.rows += read.examples.len();
            if pace.is_due() {
                cx.progress().step(0, 1, &format!("reading {}", pace.text(None)));
                still_wanted(&|| cx.stopped())?;
            }
        }
        Ok(Some((keeping.finish()?, left_out)))
    }

    /// Whether a file that begins so may be one of the format.
    fn check(&self, bytes: &[u8]) -> anyhow::Result<()> {
        if bytes.starts_with(PARQUET) {
            bail!(
                "a Parquet file; `{}` is read from its original files, or as JSON lines. `from: {{table: …}}` reads Parquet",
                self.format
            );
        }
        Ok(())
    }
}
