//! Tables that are made to hurt: one clear error each, in bounded memory.

use super::shell::Shell;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// What a run may address, in MiB: the threads' stacks and the mapped program are part of it.
const MEMORY: usize = 3 << 10;

fn shell(file: &str, content: impl AsRef<[u8]>) -> Shell {
    let manifest = format!(
        "version: 1
name: it
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}}}
  data:
    kind: ingest
    backbone: backbone
    from: {{table: {{train: {file}, name: x, template: '{{text}}', label: label, labels: [bad, good]}}}}
"
    );
    Shell::new().write("pipelines/it.yaml", manifest).write(file, content)
}

/// The one line that a run says of a file.
#[track_caller]
fn fails(file: &str, content: impl AsRef<[u8]>, said: &str) {
    let shell = shell(file, content);
    let done = shell.spot("run it").within(MEMORY).exits_with(1);
    done.complains(file).complains(said);
    assert!(done.err.len() < 8 << 10, "{} bytes", done.err.len());
}

fn gzip(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    pieces.for_each(|piece| encoder.write_all(&piece).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn a_line_without_an_end_is_refused() {
    let piece = vec![b'x'; 1 << 20];
    let line = (0..900).map(|_| piece.clone());
    fails("line.csv.gz", gzip([b"text,label\n".to_vec()].into_iter().chain(line)), "line 2");
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
