//! The files of a folder that are a model's weights: one file or its shards, safetensors or torch's own.

use crate::ml::pointer;
use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// How files of weights are called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// All weights.
    pub(super) single: &'static str,
    /// Which shard has which tensor.
    pub(super) index: &'static str,
    /// What shards begin and end with.
    prefix: &'static str,
    suffix: &'static str,
}

/// The form that is preferred.
pub(super) const SAFETENSORS: Form = Form {
    single: "model.safetensors",
    index: "model.safetensors.index.json",
    prefix: "model-",
    suffix: ".safetensors",
};
const TORCH: Form = Form {
    single: "pytorch_model.bin",
    index: "pytorch_model.bin.index.json",
    prefix: "pytorch_model-",
    suffix: ".bin",
};

impl Form {
    /// The form of the weights among some files: the first of which there is anything. Where that is not all there, what is missing
    /// is said, and no other form stands in for it.
    pub(super) fn of(names: &[&str]) -> &'static Self {
        [&SAFETENSORS, &TORCH].into_iter().find(|form| form.is_begun(names)).unwrap_or(&SAFETENSORS)
    }

    /// Whether anything of this form is among some files.
    pub(super) fn is_begun(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// What some files lack to be weights of this form, as far as their names tell; `None` if nothing.
    pub(super) fn lacks(&self, names: &[&str]) -> Option<String> {
        if names.contains(&self.single) {
            return None;
        }
        let Some(shard) = names.iter().find(|name| self.is_shard(name)) else {
            return Some(format!("`{}` is missing", self.single));
        };
        let no_index =
            || (!names.contains(&self.index)).then(|| format!("`{}` is missing beside `{shard}`", self.index));
        self.lacking_shard(names).or_else(no_index)
    }

    /// A shard that is missing beside others.
    fn lacking_shard(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| {
            let (_, total) = self.place(name)?;
            let there = |at: usize| names.iter().any(|other| self.place(other) == Some((at, total)));
            let at = (1..=total).find(|at| !there(*at))?;
            Some(format!("the shard {at} of {total} is missing beside `{name}`"))
        })
    }

    /// Whether a file is of this form, or its index.
    fn has(&self, name: &str) -> bool {
        name == self.single || name == self.index || self.is_shard(name)
    }

    fn is_shard(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && name.ends_with(self.suffix)
    }

    /// Whether a file holds weights in this form.
    pub(super) fn is_weights(&self, name: &str) -> bool {
        name == self.single || self.is_shard(name)
    }

    /// Whether a file is one of those to take: the single file where it is there, or else shards and their index.
    pub(super) fn takes(&self, name: &str, names: &[&str]) -> bool {
        if names.contains(&self.single) { name == self.single } else { self.has(name) }
    }

    /// Checks that every shard of a checkpoint is there, and no other's.
    ///
    /// # Errors
    /// If the index cannot be read, or a shard is missing or not named in it.
    pub(super) fn check_shards(&self, names: &[&str], index: Option<&[u8]>) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        if let Some(bytes) = index {
            let file = self.index;
            pointer::refuse(bytes).with_context(|| format!("`{file}`"))?;
            let index: Index = serde_json::from_slice(bytes).with_context(|| format!("`{file}`"))?;
            let named: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
            if let Some(lacking) = named.iter().find(|name| !names.contains(name)) {
                let tensors = index.weight_map.values().filter(|name| name == lacking).count();
                bail!(
                    "the shard `{lacking}` is missing, where `{file}` has {tensors} tensors; copy or download it too"
                );
            }
            if let Some(other) = names.iter().find(|name| !named.contains(*name)) {
                bail!("the shard `{other}` is not in `{file}`; is it of another checkpoint? Move it elsewhere");
            }
        }
        match self.lacking_shard(names) {
            Some(lacking) => bail!("{lacking}; copy or download it too"),
            None => Ok(()),
        }
    }

    /// The place of a shard among how many, from a name such as `model-00001-of-00002.safetensors`.
    fn place(&self, name: &str) -> Option<(usize, usize)> {
        let (at, total) = name.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?.split_once("-of-")?;
        Some((at.parse().ok()?, total.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(names: &str) -> String {
        let names: Vec<&str> = names.split(' ').collect();
        let form = Form::of(&names);
        names.iter().copied().filter(|name| form.takes(name, &names)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn safetensors_are_preferred_even_incomplete_ones_and_one_file_to_shards() {
        let shards = "model-00001-of-00001.safetensors model.safetensors.index.json";
        let bins = "pytorch_model-00001-of-00001.bin pytorch_model.bin.index.json";
        let half = "model-00001-of-00002.safetensors model.safetensors.index.json";
        for (names, expected) in [
            ("model.safetensors pytorch_model.bin", "model.safetensors"),
            ("pytorch_model.bin tf_model.h5 training_args.bin optimizer.bin", "pytorch_model.bin"),
            (&format!("{shards} pytorch_model.bin"), shards),
            (&format!("{bins} {shards} model.safetensors"), "model.safetensors"),
            (&format!("pytorch_model.bin {bins}"), "pytorch_model.bin"),
            (bins, bins),
            ("model.safetensors.index.json pytorch_model.bin", "model.safetensors.index.json"),
            (&format!("{half} pytorch_model.bin"), half),
            (&format!("model-00001-of-00001.safetensors {bins}"), "model-00001-of-00001.safetensors"),
            ("model.safetensors.index.json pytorch_model-00001-of-00002.bin", "model.safetensors.index.json"),
            ("tf_model.h5", ""),
        ] {
            assert_eq!(taken(names), expected, "{names}");
        }
    }
}
