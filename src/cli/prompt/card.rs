//! The model card of an exported prompt, in the form of Hugging Face's hub. It says what is known, and nothing else: no licence, no
//! score, no model that nobody named.

use super::given::Given;
use crate::engine::store::digest::Digest;
use crate::ml::prompt::about::About;
use crate::ml::prompt::peft;
use crate::ui::printable;

/// The file of the card.
pub(super) const NAME: &str = "README.md";

/// The card of a prompt that PEFT loads from `weights`, the bytes of its tensor, for the model called `base_model`.
pub(super) fn card(given: &Given, base_model: Option<&str>, weights: &[u8]) -> String {
    let title = given.about.task.as_ref().map_or_else(String::new, |task| format!(" for {}", code(task)));
    let (length, width) = (given.prompt.length(), given.prompt.width);
    format!(
        "{}\n# Soft prompt{title}\n\n{length} rows of {width} numbers that stand before the embedded input of a frozen T5. The model \
         itself is not changed, and the prompt works with no other.\n\n{}\n## Use\n\n{}\n## Similarity\n\n{}\n",
        front(base_model),
        facts(given, base_model, weights),
        code_to_load(base_model),
        similarity(&given.about)
    )
}

/// What the hub reads.
fn front(base_model: Option<&str>) -> String {
    let id = base_model.filter(|name| is_id(name));
    let base = id.map_or_else(String::new, |id| format!("base_model: {}\n", quoted(id)));
    let tag = id.map_or_else(String::new, |id| format!("- {}\n", quoted(&format!("base_model:adapter:{id}"))));
    format!("---\n{base}library_name: peft\ntags:\n{tag}- prompt-tuning\n- soft-prompt\n- t5\n---\n")
}

/// Whether a name is one of the hub, and not a folder somewhere: `google/t5-base-lm-adapt`, `t5-small`.
fn is_id(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain);
    name.split('/').count() <= 2 && name.split('/').all(part) && !std::path::Path::new(name).exists()
}

/// All that is known of the prompt, as a table.
fn facts(given: &Given, base_model: Option<&str>, weights: &[u8]) -> String {
    let About { task, seed, step, score, steps, backbone, origin, source, source_seed, made_of, .. } = &given.about;
    let number = |number: &Option<u64>| number.map(|number| number.to_string());
    let from = source.as_ref().map(|source| match source_seed {
        Some(seed) => format!("the prompt of {}, seed {seed}", code(source)),
        None => code(source),
    });
    let (key, job) = given.made.as_ref().map(|(key, job)| (code(&key.to_string()), code(job))).unzip();
    let rows: [(&str, Option<String>); 15] = [
        ("task", task.as_deref().map(code)),
        ("seed", number(seed)),
        ("step", number(step)),
        ("steps of the tuning", number(steps)),
        ("score on validation, at that step", score.map(|score| format!("{score:.1}"))),
        ("began from", from),
        ("sum of", made_of.as_deref().map(code)),
        ("model", base_model.map(code)),
        ("digest of the model", backbone.as_deref().map(code)),
        ("digest of the common origin", origin.as_deref().map(code)),
        ("job", job),
        ("key of the job", key),
        ("digest of the prompt", given.digest.map(|digest| code(&digest.to_string()))),
        ("exported from", given.made.is_none().then(|| code(&given.name))),
        ("digest of the file", Some(format!("{} ({})", code(&Digest::of(weights).to_string()), code(peft::WEIGHTS)))),
    ];
    let rows = rows.into_iter().filter_map(|(name, value)| Some(format!("| {name} | {} |\n", value?)));
    format!("| | |\n| --- | --- |\n{}\nDigests are BLAKE3.\n", rows.collect::<String>())
}

/// How Python loads it.
fn code_to_load(base_model: Option<&str>) -> String {
    let (base, unknown) = match base_model {
        Some(name) => (quoted(name), ""),
        None => (quoted("MODEL"), "`MODEL` is the name or folder of the model that the prompt was tuned on.\n\n"),
    };
    format!(
        "{unknown}```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForSeq2SeqLM, AutoTokenizer\nbase = \
         {base}\nmodel = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), \".\").eval()\ntokenizer = \
         AutoTokenizer.from_pretrained(base)\n```\n\n`\".\"` is the folder of this file.\n"
    )
}

/// What a comparison with other prompts means.
fn similarity(about: &About) -> String {
    let common = "Cosines with other prompts are of the mean of the rows, or the mean over all pairs of rows, and mean something between \
                  prompts of one model only.";
    let own = match &about.origin {
        Some(origin) => format!(
            "This one began from the common origin `{}`: rows of prompts of that origin correspond, and what each learned is the \
             difference to it.",
            escaped(origin)
        ),
        None => "Rows of prompts that began independently do not correspond: do not compare or add them one by one."
            .to_owned(),
    };
    format!("{common} {own}")
}

/// A text as code in a cell of a table.
fn code(text: &str) -> String {
    format!("`{}`", escaped(text))
}

fn escaped(text: &str) -> String {
    printable(text).replace(['\n', '\r', '\t'], " ").replace('`', "'").replace('|', "\\|")
}

/// A text in quotes that YAML and Python read alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::prompt::Prompt;

    fn given(about: About) -> Given {
        let prompt = Prompt { values: vec![0.0; 6], width: 3 };
        Given { name: "x.npy".to_owned(), prompt, about, digest: None, made: None }
    }

    #[test]
    fn what_nobody_said_is_not_in_the_card() {
        let card = card(&given(About::default()), None, b"weights");
        assert!(card.starts_with(
            "---\nlibrary_name: peft\ntags:\n- prompt-tuning\n- soft-prompt\n- t5\n---\n\n# Soft prompt\n"
        ));
        for word in ["license", "licence", "base_model", "score", "seed", "| task", "key"] {
            assert!(!card.contains(word), "{word}: {card}");
        }
        assert!(card.contains("2 rows of 3 numbers") && card.contains("`MODEL` is the name or folder"), "{card}");
        assert!(card.contains("| exported from | `x.npy` |"), "{card}");
        let digest = blake3::hash(b"weights").to_hex();
        assert!(card.contains(&format!("| digest of the file | `{digest}` (`adapter_model.safetensors`) |")), "{card}");
    }

    #[test]
    fn a_model_of_the_hub_is_the_base_and_a_folder_is_not() {
        let front = |name: &str| front(Some(name));
        let hub = front("google/t5-small-lm-adapt");
        assert!(hub.contains("base_model: \"google/t5-small-lm-adapt\"\n"), "{hub}");
        assert!(hub.contains("- \"base_model:adapter:google/t5-small-lm-adapt\"\n"), "{hub}");
        for folder in ["/models/t5", "./t5", "src", "a/b/c", "", "a b", "x\"\nlicense: mit"] {
            assert!(!front(folder).contains("base_model"), "{folder}");
        }
    }

    #[test]
    fn names_of_others_cannot_break_the_card() {
        let task = Some("a|b`c\n---\nlicense: mit\u{1b}[2J".to_owned());
        let card = card(&given(About { task, ..About::default() }), Some("x\"\nimport os\n\""), b"");
        assert!(card.contains("| task | `a\\|b'c --- license: mit\\u{1b}[2J` |"), "{card}");
        assert!(card.contains(r#"base = "x\"\nimport os\n\"""#), "{card}");
        assert!(!card.lines().any(|line| line.starts_with("license") || line.starts_with("import os")), "{card}");
    }
}
