//! Tables that are made to hurt: one clear error each, in bounded memory.

use super::shell::Shell;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::LazyLock;

/// What a run may address, in MiB: the threads' stacks and the mapped program are part of it.
const MEMORY: usize = 3 << 10;

/// A table of texts and labels in a file, as a source in a manifest.
fn table(file: &str) -> String {
    format!("{{table: {{train: {file}, name: x, template: '{{text}}', label: label, labels: [bad, good]}}}}")
}

/// A pipeline with a data set from this source.
fn shell(from: &str) -> Shell {
    let manifest = format!(
        "version: 1
name: it
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}}}
  data: {{kind: ingest, backbone: backbone, from: {from}, target_length: 64}}
"
    );
    Shell::new().write("pipelines/it.yaml", manifest)
}

/// The one thing that a run says of a file in a table.
#[track_caller]
fn fails(file: &str, content: impl AsRef<[u8]>, said: &str) {
    fails_from(&table(file), file, content, said);
}

/// The same of a file in another source.
#[track_caller]
fn fails_from(from: &str, file: &str, content: impl AsRef<[u8]>, said: &str) {
    is_refused(&shell(from).write(file, content), file, said);
}

#[track_caller]
fn is_refused(shell: &Shell, file: &str, said: &str) {
    let done = shell.spot("run it").within(MEMORY).exits_with(1);
    done.complains(file).complains(said);
    assert!(done.err.len() < 8 << 10, "{} bytes", done.err.len());
}

fn gzip(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    pieces.for_each(|piece| encoder.write_all(&piece).unwrap());
    encoder.finish().unwrap()
}

/// The same letter again and again behind a beginning: a file of some MiB that unpacks to 1.2 GiB.
fn endless(beginning: &str) -> Vec<u8> {
    static LETTERS: LazyLock<Vec<u8>> = LazyLock::new(|| gzip((0..1200).map(|_| vec![b'x'; 1 << 20])));
    // A file of gzip is what all of its parts hold.
    [gzip([beginning.as_bytes().to_vec()].into_iter()), LETTERS.clone()].concat()
}

#[test]
fn a_line_without_an_end_is_refused() {
    let too_long = "a row of more than 32 MiB";
    let csv = endless("text,label\n");
    fails("line.csv.gz", &csv, &format!("line 2: {too_long}"));
    let json = endless("{\"text\": \"a\", \"label\": 1}\n{\"text\": \"");
    fails("line.jsonl.gz", &json, &format!("line 2: {too_long}"));
    let tsv = endless("sentence\tlabel\nfine\t1\n");
    fails_from("{files: {format: glue/sst2, train: line.tsv.gz}}", "line.tsv.gz", &tsv, &format!("line 3: {too_long}"));
    fails_from("{text: {files: [line.txt.gz], window: 64}}", "line.txt.gz", &tsv, &format!("line 3: {too_long}"));
    fails_from("{files: {format: superglue/cb, train: line.jsonl.gz}}", "line.jsonl.gz", &json, "line 1");
}

/// What can only be read as a whole may unpack to a gibibyte.
#[test]
fn a_bomb_is_refused_before_it_fills_memory() {
    let bomb = endless("PAR1");
    fails("bomb.parquet.gz", &bomb, "unpacks to more than 1073741824 bytes from a file of");
    fails("bomb.arrow.gz", &bomb, "unpacks to more than 1073741824 bytes from a file of");
    let squad = endless("{\"data\": [\"");
    let from = "{files: {format: squad, train: bomb.json.gz}}";
    fails_from(from, "bomb.json.gz", &squad, "unpacks to more than 1073741824 bytes from a file of");
    let array = endless("[\"");
    fails("bomb.json.gz", &array, "more than 1073741824 bytes of text that can only be read as a whole");
}

/// A file of a size that takes no place on the disk.
fn hollow(shell: &Shell, file: &str, size: u64) {
    shell.put(file, "");
    std::fs::OpenOptions::new().write(true).open(shell.path(file)).unwrap().set_len(size).unwrap();
}

#[test]
fn what_would_be_held_in_memory_has_a_bound() {
    const SIZE: u64 = (1 << 30) + 1;
    let query = table("rows.csv").replace("name: x", "name: x, query: 'select * from rows'");
    for (from, file, said) in [
        (&*query, "rows.csv", "the rows of `query` have 1073741825 bytes, of which 1073741824 may be held in memory"),
        (
            "{files: {format: squad, train: dev.json}}",
            "dev.json",
            "has 1073741825 bytes; a file that is read as a whole",
        ),
    ] {
        let shell = shell(from);
        hollow(&shell, file, SIZE);
        is_refused(&shell, file, said);
    }
    let shell = Shell::new()
        .write("pipelines/it.yaml", "version: 1\nname: it\nstages:\n  model: {kind: pretrain, corpus: [corpus.txt]}\n");
    hollow(&shell, "corpus.txt", SIZE);
    is_refused(&shell, "corpus.txt", "the corpus has 1073741825 bytes, of which 1073741824 may be held in memory");
}

/// A second shard with other columns, or with another type in them, and one that is not there.
#[test]
fn shards_that_do_not_fit_are_refused() {
    let from = table("data/train-*.jsonl");
    let shard = |shell: &Shell, at: usize, row: &str| {
        shell.put(&format!("data/train-{at:05}-of-00003.jsonl"), format!("{row}\n").repeat(30));
    };
    let refused = |second: &str, said: &[&str]| {
        let shell = shell(&from);
        [0, 2].iter().for_each(|at| shard(&shell, *at, "{\"text\": \"a\", \"label\": \"good\"}"));
        if second.is_empty() {
            shell.spot("run it").exits_with(1).complains("shard 1 of 3 of `train-*.jsonl` is missing, 2 are there");
            return;
        }
        shard(&shell, 1, second);
        said.iter().for_each(|said| is_refused(&shell, "data/train-00001-of-00003.jsonl", said));
    };
    refused("", &[]);
    refused("{\"txt\": \"a\", \"label\": \"good\"}", &["no column `text` (did you mean `txt`?); found `txt`, `label`"]);
    refused(
        "{\"text\": \"a\", \"label\": 1}",
        &["`label` is 1, which as a place would be `good`, but in line 1 of file 1 it is `good`"],
    );
    refused("{\"text\": {\"a\": 1}, \"label\": \"good\"}", &["line 1: `text` is an object, expected a text"]);
}

#[test]
fn a_million_columns_are_no_work() {
    let names: String = (0..1_000_000).map(|i| format!("c{i},")).collect();
    let text = format!("{names}text\n{}\n", ",".repeat(1_000_000));
    fails("wide.csv", text, "no column `label`");
    let object: String = (0..1_000_000).map(|i| format!("\"c{i}\":1,")).collect();
    fails("wide.jsonl", format!("{{{object}\"text\":\"x\"}}\n"), "no column `label`");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |open: &str, close: &str| {
        format!("{{\"text\": {}1{}, \"label\": 1}}\n", open.repeat(100_000), close.repeat(100_000))
    };
    fails("deep.jsonl", deep("[", "]"), "line 1");
    fails("deep.json", deep("{\"a\":", "}"), "line 1");
}
