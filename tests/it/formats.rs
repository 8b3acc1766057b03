//! Published data sets in their original layouts, as they come out as text-to-text pairs.

use super::shell::Shell;

/// A training file in this format becomes a data set whose rows, as `show` prints them, hold these texts.
#[track_caller]
fn becomes(format: &str, file: &str, content: &str, texts: &[&str]) {
    let manifest = format!(
        "version: 1\nname: data\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n  data: {{kind: ingest, backbone: backbone, from: {{files: {{format: {format}, train: {file}}}}}}}\n"
    );
    let shell = Shell::new().write("pipelines/data.yaml", manifest).write(file, content);
    assert_eq!(shell.executed_by("run data"), ["backbone", "data"]);
    let shown = shell.spot("show data").ok();
    for text in texts {
        shown.prints(text);
    }
}

#[test]
fn tables_are_not_quoted() {
    let content = "sentence\tlabel\n\" never closed\t1\n";
    becomes("glue/sst2", "train.tsv", content, &["sst2 sentence: ", "\" never closed", "\"positive\"", "1 of 1 rows"]);
}

#[test]
fn cola_has_no_header() {
    let content = "gj04\t1\t\tShe ran.\ngj04\t0\t*\tRan she.\n";
    becomes("glue/cola", "train.tsv", content, &["cola sentence: She ran.", "\"unacceptable\"", "2 of 2 rows"]);
}

#[test]
fn labels_are_words_integers_or_booleans() {
    let cb = "{\"premise\": \"P\", \"hypothesis\": \"H\", \"label\": \"neutral\", \"idx\": 0}\n";
    becomes("superglue/cb", "cb.jsonl", cb, &["cb hypothesis: H premise: P", "\"neutral\""]);
    let copa = "{\"premise\": \"P.\", \"choice1\": \"X.\", \"choice2\": \"Y.\", \"question\": \"cause\", \"label\": 1, \"idx\": 0}\n";
    becomes("superglue/copa", "copa.jsonl", copa, &["copa choice1: X.", "\"choice2\""]);
    let boolq = "{\"question\": \"is it\", \"passage\": \"It is.\", \"idx\": 0, \"label\": true}\n";
    becomes("superglue/boolq", "boolq.jsonl", boolq, &["boolq ", "\"True\""]);
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems_do_not_matter() {
    let content = "\u{feff}sentence\tlabel\r\na fine film\t1\r\n";
    becomes("glue/sst2", "train.tsv", content, &["sst2 sentence: a fine film", "\"positive\""]);
}
