//! Which files of a folder or repository are a T5: its configuration, a tokenizer, and weights in the form that is best to read.

use super::checkpoint_weights::Form;

/// Sizes of a model.
pub(super) const CONFIG: &str = "config.json";
/// Hugging Face's file of a tokenizer.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// SentencePiece's.
pub(super) const SPIECE: &str = "spiece.model";
/// What a repository has beside these, or instead of them where the tokenizer is ByT5's.
const WORDS_ON_TOKENIZER: &str = "tokenizer_config.json";

/// The files that matter, of the names of those that there are: configuration, the better of two tokenizers, and the weights in one
/// [`Form`].
pub(super) fn pick(names: &[String]) -> Vec<String> {
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let tokenizer = [TOKENIZER, SPIECE].into_iter().find(|known| all.contains(known));
    let form = Form::of(&all);
    let takes = |name: &str| name == CONFIG || Some(name) == tokenizer || form.takes(name, &all);
    names.iter().filter(|name| takes(name)).cloned().collect()
}

/// The same of a repository, from which nothing is taken unless all is there.
///
/// ByT5's tokenizer has no file. So that one which has not come yet is not taken for it, `tokenizer_config.json` has to be there,
/// and is taken, where no tokenizer is.
///
/// # Errors
/// What is lacking.
pub(super) fn choose(names: &[String]) -> Result<Vec<String>, String> {
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    if !all.contains(&CONFIG) {
        return Err(lacks(CONFIG, &all));
    }
    let tokenizer = [TOKENIZER, SPIECE, WORDS_ON_TOKENIZER].into_iter().find(|known| all.contains(known));
    let tokenizer = tokenizer.ok_or_else(|| lacks("tokenizer.json` or `spiece.model", &all))?;
    let form = Form::of(&all);
    if !form.is_begun(&all) {
        return Err(lacks("model.safetensors` or `pytorch_model.bin", &all));
    }
    form.lacks(&all).map_or(Ok(()), Err)?;
    let mut chosen = pick(names);
    if tokenizer == WORDS_ON_TOKENIZER {
        chosen.push(tokenizer.to_owned());
    }
    Ok(chosen)
}

/// Names shown where one is missing.
const MOST_NAMES: usize = 12;

fn lacks(what: &str, names: &[&str]) -> String {
    let mut shown: Vec<&str> = names.iter().copied().filter(|name| !name.starts_with('.')).collect();
    let more = shown.len().saturating_sub(MOST_NAMES);
    shown.truncate(MOST_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let there = if shown.is_empty() { "nothing".to_owned() } else { format!("{}{more}", shown.join(", ")) };
    format!("it has no `{what}`, but {there}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &str) -> Result<String, String> {
        let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
        let mut chosen = choose(&names)?;
        chosen.sort();
        Ok(chosen.join(" "))
    }

    #[test]
    fn the_best_form_of_each_part_is_taken_and_nothing_else() {
        let all = "README.md config.json flax_model.msgpack generation_config.json model.safetensors pytorch_model.bin spiece.model \
                   tf_model.h5 tokenizer.json tokenizer_config.json";
        assert_eq!(chosen(all).unwrap(), "config.json model.safetensors tokenizer.json");
        let without = "config.json pytorch_model.bin spiece.model tf_model.h5";
        assert_eq!(chosen(without).unwrap(), "config.json pytorch_model.bin spiece.model");
        let shards = "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json \
                      pytorch_model.bin tokenizer.json";
        let expected = "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors \
                        model.safetensors.index.json tokenizer.json";
        assert_eq!(chosen(shards).unwrap(), expected);
        let bins = "config.json pytorch_model-00001-of-00001.bin pytorch_model.bin.index.json tokenizer.json";
        assert_eq!(chosen(bins).unwrap(), bins);
        let half =
            "config.json model-00001-of-00002.safetensors model.safetensors.index.json pytorch_model.bin spiece.model";
        assert!(
            chosen(half).unwrap_err().contains("the shard 2 of 2 is missing"),
            "and no other form stands in for it"
        );
        let of_bytes = "config.json pytorch_model.bin special_tokens_map.json tokenizer_config.json";
        assert_eq!(chosen(of_bytes).unwrap(), "config.json pytorch_model.bin tokenizer_config.json");
    }

    #[test]
    fn what_is_lacking_is_named() {
        assert!(chosen("a b").unwrap_err().contains("no `config.json`, but a, b"));
        assert!(chosen("config.json model.safetensors").unwrap_err().contains("`tokenizer.json` or `spiece.model`"));
        let flax = chosen("config.json tokenizer.json flax_model.msgpack").unwrap_err();
        assert!(flax.contains("`pytorch_model.bin`, but config.json, tokenizer.json, flax_model.msgpack"), "{flax}");
        let half = "config.json tokenizer.json model-00002-of-00003.safetensors model.safetensors.index.json";
        assert!(chosen(half).unwrap_err().contains("shard 1 of 3 is missing"));
        let no_index = "config.json tokenizer.json model-00001-of-00001.safetensors";
        assert!(chosen(no_index).unwrap_err().contains("`model.safetensors.index.json` is missing"));
        let many = (0..20).map(|i| format!("f{i}")).collect::<Vec<_>>().join(" ");
        assert!(chosen(&many).unwrap_err().ends_with("f11 and 8 more"));
    }
}
