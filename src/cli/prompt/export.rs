//! `spot prompt export`: a prompt for other programs and for people.

use super::card::{self, card};
use super::given::{Given, Which};
use super::words;
use crate::cli::backbone::Backbones;
use crate::cli::keys::Sign;
use crate::cli::{output, project};
use crate::engine::store::catalog::Catalog;
use crate::error::{Exit, Usage};
use crate::ml::prompt::file::PromptFile;
use crate::ml::prompt::{npy, peft};
use crate::trust::{SecretKey, Sha256, model};
use crate::ui;
use clap::{Args, ValueEnum};
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// Arguments of `spot prompt export`.
#[derive(Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    which: Which,
    /// What to write: `NAME.npy`, `NAME.safetensors`, or a folder for PEFT, with a model card
    #[arg(long, value_name = "PATH", value_parser = project::path())]
    to: PathBuf,
    /// In which form [default: by the ending of `--to`]
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    sign: Sign,
    /// The name or folder of the model, for PEFT to find it by itself [default: what the prompt says]
    #[arg(long, value_name = "MODEL")]
    base_model: Option<String>,
    /// Write the words that the rows are like too, as `words.csv` in the folder or `NAME.words.csv` beside the file
    #[arg(long)]
    readable: bool,
    /// Words of each row, nearest by cosine, and as many by distance
    #[arg(long, value_name = "N", default_value = "5", requires = "readable")]
    nearest: NonZero<usize>,
    /// The model whose words are meant: a job, a folder in Hugging Face's layout, or a repository of the hub that is on this
    /// machine [default: the one that the prompt was tuned on]
    #[arg(long, value_name = "JOB|FOLDER", requires = "readable", value_parser = project::name())]
    backbone: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Peft,
    Npy,
    Safetensors,
}

/// The file of a folder that has the digests of the others.
const SUMS: &str = "SHA256SUMS";

/// A file that is written.
type Written = (PathBuf, Vec<u8>);

impl Export {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is no such prompt, or the file is there with other content or cannot be written.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let given = self.which.read()?;
        let form = self.format.unwrap_or_else(|| self.by_ending());
        let mut files = self.files(&given, form);
        if self.readable {
            // The settings of an adapter stay the last: a folder without them is no adapter.
            files.insert(files.len() - 1, self.words(&given, form == Form::Peft)?);
        }
        let key = self.sign.key()?;
        match (form, key) {
            (Form::Peft, key) => {
                let sums = self.sums(&files);
                files.insert(files.len() - 1, sums);
                if let Some(key) = key {
                    let signature = self.signature(&files, &key)?;
                    files.insert(files.len() - 1, signature);
                }
                fs_err::create_dir_all(&self.to)?;
            }
            (_, Some(_)) => {
                let message = "`--sign` signs a folder with all that is in it; give `--to FOLDER`".to_owned();
                return Err(Usage(message).into());
            }
            (_, None) => {}
        }
        let borrowed: Vec<(&Path, &[u8])> = files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
        let written = output::write_new(&borrowed, self.overwrite)?;
        let done = if written { "wrote" } else { "unchanged:" };
        let (to, name, length, width) = (self.to.display(), &given.name, given.prompt.length(), given.prompt.width);
        ui::print(&format!("{done} `{to}`: `{name}`, {length} rows of {width}\n"))?;
        Ok(Exit::Ok)
    }

    fn by_ending(&self) -> Form {
        match self.to.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Form::Npy,
            Some("safetensors") => Form::Safetensors,
            _ => Form::Peft,
        }
    }

    fn files(&self, given: &Given, form: Form) -> Vec<Written> {
        let Given { prompt, about, .. } = given;
        match form {
            Form::Npy => vec![(self.to.clone(), npy::write(prompt))],
            Form::Safetensors => {
                vec![(self.to.clone(), PromptFile::of(prompt.clone(), about.clone()).to_bytes())]
            }
            Form::Peft => {
                let base_model = self.base_model.as_deref().or(about.base_model.as_deref());
                let (weights, config) = (peft::weights(prompt), peft::config(prompt, base_model));
                let card = card(given, base_model, &weights);
                let at = |name: &str| self.to.join(name);
                vec![
                    (at(peft::WEIGHTS), weights),
                    (at(card::NAME), card.into_bytes()),
                    (at(peft::CONFIG), config.into_bytes()),
                ]
            }
        }
    }

    /// What `sha256sum -c` checks.
    fn sums(&self, files: &[Written]) -> Written {
        let lines = files.iter().map(|(path, bytes)| format!("{}  {}\n", Sha256::of(bytes), name(path)));
        (self.to.join(SUMS), lines.collect::<String>().into_bytes())
    }

    /// What `model_signing verify` checks.
    fn signature(&self, files: &[Written], key: &SecretKey) -> anyhow::Result<Written> {
        let named: Vec<(String, &[u8])> = files.iter().map(|(path, bytes)| (name(path), &**bytes)).collect();
        let named: Vec<(&str, &[u8])> = named.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        let folder = name(&std::path::absolute(&self.to)?);
        let text = model::sign(&folder, &named, key).map_err(|error| Usage(format!("`--sign`: {error}")))?;
        Ok((self.to.join(model::NAME), text.into_bytes()))
    }

    /// The words that the rows are like.
    fn words(&self, given: &Given, is_folder: bool) -> anyhow::Result<Written> {
        let path = words::path(&self.to, is_folder);
        let store = self.which.cache.open();
        let catalog = Catalog::read(&store)?;
        let backbones = Backbones { store: &store, catalog: &catalog };
        let backbone = backbones.of_prompt(given, self.backbone.as_deref())?;
        Ok((path, words::csv(given, &backbone, self.nearest.get())?))
    }
}

/// The last part of a path.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
