//! Data sets that are read piece by piece: the outputs of every layout and of every way to draw rows are those that reading all at once
//! makes, whatever the number of threads.

use super::shell::Shell;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use spot::data::{Column, Table};
use spot::ml::random::Stream;
use std::collections::BTreeMap;
use std::io::Write;

/// Rows beyond a row group of the output, and many pieces of every input.
const MANY: usize = 17_000;
const FEW: usize = 900;

struct Row {
    id: String,
    text: String,
    author: String,
    label: &'static str,
    stars: f64,
    group: String,
    options: [String; 2],
    right: i64,
}

fn rows(count: usize, seed: u64) -> Vec<Row> {
    let mut stream = Stream::new(seed, "rows that stream");
    let row = |number: usize| {
        let words = ["fine", "dull", "film", "day", "é", "so", "\"well\"", "a, b", "cat", "dog", "ran", "home"];
        let some = 2 + stream.below(9);
        let text: Vec<&str> = (0..some).map(|_| *stream.choose(&words)).collect();
        let rare = if stream.chance(0.2) { format!(" w{}", stream.below(3000)) } else { String::new() };
        Row {
            id: format!("r{number}"),
            text: text.join(" ") + &rare,
            author: (*stream.choose(&["Ann", "Bo", ""])).to_owned(),
            label: ["bad", "good", "so so"][stream.below(3)],
            stars: stream.below(50) as f64 / 8.0,
            group: format!("g{}", stream.below(count / 3 + 1)),
            options: [format!("first {number}"), format!("second {}", number % 7)],
            right: stream.below(2) as i64,
        }
    };
    (0..count).map(row).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn csv(rows: &[Row], delimiter: char) -> Vec<u8> {
    let mut text = ["id", "text", "author", "label", "stars", "group"].join(&delimiter.to_string()) + "\r\n";
    for row in rows {
        let fields = [&row.id, &quoted(&row.text), &row.author, row.label, &row.stars.to_string(), &row.group];
        text += &(fields.join(&delimiter.to_string()) + "\r\n");
    }
    text.into_bytes()
}

fn objects(rows: &[Row]) -> Vec<Value> {
    let object = |row: &Row| {
        json!({"id": row.id, "text": row.text, "author": row.author, "label": row.label, "stars": row.stars, "group": row.group,
            "options": row.options, "right": row.right})
    };
    rows.iter().map(object).collect()
}

fn lines(rows: &[Row]) -> Vec<u8> {
    objects(rows).iter().map(|object| format!("{object}\n")).collect::<String>().into_bytes()
}

fn parquet(rows: &[Row], label: Column) -> Vec<u8> {
    let text = |of: &dyn Fn(&Row) -> &String| Column::Text(rows.iter().map(|row| of(row).clone()).collect());
    let table = Table::new([
        ("id", text(&|row| &row.id)),
        ("text", text(&|row| &row.text)),
        ("author", text(&|row| &row.author)),
        ("group", text(&|row| &row.group)),
        ("stars", Column::Float(rows.iter().map(|row| row.stars).collect())),
        ("label", label),
    ]);
    table.to_parquet().unwrap()
}

fn places(rows: &[Row]) -> Column {
    let place = |row: &Row| ["bad", "good", "so so"].iter().position(|label| *label == row.label);
    Column::Int(rows.iter().map(|row| place(row).unwrap() as i64).collect())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn stage(name: &str, from: &str, more: &str) -> String {
    format!("  {name}: {{kind: ingest, backbone: backbone, from: {from}, input_length: 24{more}}}\n")
}

/// All data sets, and the files that they are made of.
fn shell() -> (Shell, Vec<String>) {
    let (many, few, other) = (rows(MANY, 1), rows(FEW, 2), rows(FEW, 3));
    let shell = Shell::new()
        .write("data/many.csv", csv(&many, ','))
        .write("data/few.csv.gz", gzip(&csv(&few, ',')))
        .write("data/few.tsv", csv(&few, '\t'))
        .write("data/many.jsonl.gz", gzip(&lines(&many)))
        .write("data/few.jsonl", lines(&few))
        .write("data/other.jsonl", lines(&other))
        .write("data/array.json", serde_json::to_vec(&objects(&few)).unwrap())
        .write("data/indented.json", serde_json::to_vec_pretty(&objects(&few)).unwrap())
        .write("data/many.parquet", parquet(&many, places(&many)))
        .write("data/few.parquet", parquet(&few, places(&few)))
        .write("data/hidden.parquet", parquet(&other, Column::Int(vec![-1; FEW])));
    for at in 0..24 {
        let text = |row: &Row| {
            format!("{}\n", json!({"text": format!("{}.\n\n{}", row.text, row.text.repeat(4)), "url": row.id}))
        };
        let some: String = rows(40, 100 + at).iter().map(text).collect();
        shell.put(&format!("data/c4-train.{at:05}-of-00024.json.gz"), gzip(some.as_bytes()));
    }
    shell.put(
        "data/story.txt",
        rows(700, 9).iter().map(|row| format!("{}\n{}", row.text, row.author)).collect::<String>(),
    );
    let table = |files: &str, more: &str| {
        format!("{{table: {{{files}, template: \"{{text}} by {{author}}\", label: {more}}}}}")
    };
    let labels = "label, labels: [bad, good, so so]";
    let shards: Vec<String> = (0..24).map(|at| format!("data/c4-train.{at:05}-of-00024.json.gz")).collect();
    let text = format!("{{text: {{files: [{}, data/story.txt], window: 16, name: c4}}}}", shards.join(", "));
    let stages = [
        stage("split", &table("train: data/many.csv", labels), ""),
        stage("sampled", &table("train: data/many.csv", labels), ", rows: {train: 2000, validation: 300}, seed: 3"),
        stage(
            "held",
            &table("train: data/many.jsonl.gz, validation: data/few.jsonl", labels),
            ", hold_out: {share: 0.4}",
        ),
        stage(
            "grouped",
            &table("train: data/many.jsonl.gz, validation: data/few.jsonl", &format!("{labels}, group: group")),
            ", hold_out: {rows: 300}, rows: {train: 1000, test: 100}",
        ),
        stage(
            "hidden",
            &table("train: data/many.parquet, validation: data/few.parquet, test: data/hidden.parquet", labels),
            "",
        ),
        stage("numbers", &table("train: data/few.csv.gz", "stars, answer: number, round: 0.2, name: stars"), ""),
        stage(
            "texts",
            &table(
                "train: data/few.jsonl, test: data/other.jsonl, name: texts, id: id",
                "group, answer: text, drop: 'author == null'",
            ),
            "",
        ),
        stage("tabs", &table("train: data/few.tsv, quotes: fields", labels), ""),
        stage("array", &table("train: data/array.json", labels), ""),
        stage("indented", &table("train: data/indented.json", labels), ""),
        stage("several", &table("train: [data/few.jsonl, data/other.jsonl], name: several", labels), ""),
        stage(
            "choices",
            &table(
                "train: data/few.jsonl",
                "right, choices: {from: options, first: 0}, drop: [stars < 1, 'author == \"Bo\"']",
            ),
            "",
        ),
        stage("windows", &text, ", rows: {train: 500}, target_length: 24"),
        stage("all_windows", &text, ", target_length: 24"),
    ];
    let names = stages.iter().map(|stage| stage.trim().split(':').next().unwrap().to_owned()).collect();
    let manifest = format!(
        "version: 1\nname: it\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n{}",
        stages.concat()
    );
    (shell.write("pipelines/it.yaml", manifest), names)
}

/// Digests of the outputs of every data set.
fn digests(shell: &Shell, names: &[String]) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    for name in names {
        for output in ["dataset", "card", "inputs"] {
            let bytes = std::fs::read(shell.behind("it", name, output)).unwrap();
            digests.insert(format!("{name}.{output}"), blake3::hash(&bytes).to_hex()[..32].to_owned());
        }
    }
    digests
}

#[test]
fn what_is_read_in_pieces_is_the_same_whatever_the_threads() {
    let (shell, names) = shell();
    let mut found = Vec::new();
    for threads in [1, 3] {
        shell.spot(&format!("run it --threads {threads} --cache cache{threads}")).ok();
        let cache = shell.path("cache");
        let _ = std::fs::remove_file(&cache);
        std::os::unix::fs::symlink(shell.path(&format!("cache{threads}")), cache).unwrap();
        found.push(digests(&shell, &names));
    }
    assert_eq!(found[0], found[1], "threads decide nothing");
}

#[test]
fn what_waits_is_gone_when_a_job_fails_or_ends() {
    let table = "{table: {train: data/few.jsonl, template: \"{text}\", label: label, labels: [bad, good]}}";
    let manifest = format!(
        "version: 1\nname: it\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n{}",
        stage("data", table, "")
    );
    let shell = Shell::new().write("pipelines/it.yaml", manifest).write("data/few.jsonl", lines(&rows(FEW, 2)));
    let partial = shell.path("cache/v1/partial");
    let left = || std::fs::read_dir(&partial).map_or(0, Iterator::count);
    shell.spot("run it").exits_with(1).complains("which is not a label").complains("`data/few.jsonl`");
    assert_eq!(left(), 0, "a failed job leaves an empty folder");
    shell.edit("pipelines/it.yaml", "[bad, good]", "[bad, good, so so]");
    shell.spot("run it").ok();
    assert_eq!(left(), 0, "nothing is left of jobs, not even their folders");
}

#[test]
fn a_line_without_an_end_is_an_error_with_its_limit() {
    let table = "{table: {train: data/long.jsonl.gz, template: \"{text}\", label: label, name: long}}";
    let manifest = format!(
        "version: 1\nname: it\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n{}",
        stage("data", table, "")
    );
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"{\"text\": \"a\", \"label\": \"b\"}\n{\"text\": \"").unwrap();
    let piece = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| encoder.write_all(&piece).unwrap());
    let shell =
        Shell::new().write("pipelines/it.yaml", manifest).write("data/long.jsonl.gz", encoder.finish().unwrap());
    shell.spot("run it").exits_with(1).complains("line 2: a row of more than 32 MiB");
}
