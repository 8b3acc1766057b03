//! Which files of a repository are a T5: its configuration, a tokenizer, and the weights in the form that is best to read.

/// The files of a checkpoint, of the names of those that there are.
///
/// Of two tokenizers `tokenizer.json` is taken; of weights `model.safetensors`, else its shards, else `pytorch_model.bin`, else its
/// shards. Those of TensorFlow and Flax are nothing to us.
///
/// # Errors
/// What is lacking.
pub(super) fn choose(names: &[String]) -> Result<Vec<String>, String> {
    let has = |name: &str| names.iter().any(|known| known == name);
    if !has("config.json") {
        return Err(lacks("config.json", names));
    }
    let tokenizer = ["tokenizer.json", "spiece.model"].into_iter().find(|name| has(name));
    let tokenizer = tokenizer.ok_or_else(|| lacks("tokenizer.json` or `spiece.model", names))?;
    let mut chosen = weights(names)?;
    chosen.extend(["config.json".to_owned(), tokenizer.to_owned()]);
    Ok(chosen)
}

/// Weights by their names: those in one file, and what shards are called.
const FORMS: [(&str, &str, &str); 2] =
    [("model.safetensors", "model-", ".safetensors"), ("pytorch_model.bin", "pytorch_model-", ".bin")];

fn weights(names: &[String]) -> Result<Vec<String>, String> {
    let mut incomplete = None;
    for (single, prefix, suffix) in FORMS {
        if names.iter().any(|name| name == single) {
            return Ok(vec![single.to_owned()]);
        }
        match shards(names, single, prefix, suffix) {
            Ok(shards) if shards.is_empty() => {}
            Ok(shards) => return Ok(shards),
            Err(why) => drop(incomplete.get_or_insert(why)),
        }
    }
    Err(incomplete.unwrap_or_else(|| lacks("model.safetensors` or `pytorch_model.bin", names)))
}

/// The shards of one form and their index; none if there are none.
fn shards(names: &[String], single: &str, prefix: &str, suffix: &str) -> Result<Vec<String>, String> {
    let place = |name: &String| {
        let (at, total) = name.strip_prefix(prefix)?.strip_suffix(suffix)?.split_once("-of-")?;
        Some((at.parse::<usize>().ok()?, total.parse::<usize>().ok()?))
    };
    let places: Vec<_> = names.iter().filter_map(|name| Some((place(name)?, name))).collect();
    let Some(((_, total), example)) = places.first() else { return Ok(Vec::new()) };
    for at in 1..=*total {
        if !places.iter().any(|(place, _)| *place == (at, *total)) {
            return Err(format!("the shard {at} of {total} is missing beside `{example}`"));
        }
    }
    let index = format!("{single}.index.json");
    if !names.contains(&index) {
        return Err(format!("`{index}` is missing beside `{example}`"));
    }
    let of_total = places.iter().filter(|((_, known), _)| known == total);
    Ok(of_total.map(|(_, name)| (*name).clone()).chain([index]).collect())
}

/// Names shown where one is missing.
const MOST_NAMES: usize = 12;

fn lacks(what: &str, names: &[String]) -> String {
    let mut shown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.starts_with('.')).collect();
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
