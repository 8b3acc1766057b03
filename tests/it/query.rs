//! SQL: over the rows of a data set before anything is made of them, and over the tables that a run made.

use super::shell::Shell;
use spot::data::{Dataset, read_dataset};
use spot::ml::random::Stream;
use spot::ml::tasks::{Example, Split};

fn manifest(table: &str) -> String {
    let table: String = table.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "version: 1
name: it
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}}}
  data:
    kind: ingest
    backbone: backbone
    from:
      table:
{table}"
    )
}

fn dataset(shell: &Shell) -> Dataset {
    read_dataset(&std::fs::read(shell.behind("it", "data", "dataset")).unwrap()).unwrap()
}

fn all(shell: &Shell) -> Vec<Example> {
    let data = dataset(shell);
    let mut all: Vec<Example> = Split::ALL.iter().flat_map(|split| data.examples(*split).to_vec()).collect();
    all.sort_by_key(|example| example.id.parse::<usize>().unwrap_or(usize::MAX));
    all
}

const JOINED: &str = "train: data/reviews.csv
tables: {authors: data/authors.jsonl}
query: |
  select lower(title) as title, text, cast(stars as int) > 2 as good, tags[1] as tag
  from rows join authors using (author)
  where authors.trusted
template: 'title: {title} by: {tag} review: {text}'
label: good
labels: {true: good, false: bad}";

fn reviews() -> Shell {
    let author = |i: usize| ["ann", "bob", "cid"][i % 3];
    let row = |i: usize| format!("{},Title {i:03},text {i},{}\n", author(i), i % 5);
    let rows: String = (0..60).map(row).collect();
    let authors = [
        r#"{"author": "ann", "trusted": true, "tags": ["x", "y"]}"#,
        r#"{"author": "bob", "trusted": false, "tags": []}"#,
        r#"{"author": "cid", "trusted": true, "tags": ["z"]}"#,
    ];
    Shell::new()
        .write("pipelines/it.yaml", manifest(JOINED))
        .write("data/reviews.csv", format!("author,title,text,stars\n{rows}"))
        .write("data/authors.jsonl", authors.join("\n"))
}

#[test]
fn rows_are_filtered_joined_renamed_and_derived() {
    let shell = reviews();
    shell.spot("run it").ok();
    let examples = all(&shell);
    assert_eq!(examples.len(), 40, "a third is not trusted");
    let first = &examples[0];
    assert_eq!((first.input.as_str(), first.target.as_str()), ("reviews title: title 000 by: x review: text 0", "bad"));
    assert!(examples.is_sorted_by_key(|example| example.input.clone()), "joined rows are sorted by their content");

    // The text of the query and the content of the tables decide, and nothing else does.
    assert_eq!(shell.executed_by("run it"), [""; 0]);
    shell.edit("data/authors.jsonl", "\"trusted\": false", "\"trusted\": true");
    assert_eq!(shell.executed_by("run it"), ["data"]);
    assert_eq!(all(&shell).len(), 60);
    shell.edit("pipelines/it.yaml", "  where authors.trusted", "  where authors.trusted and stars <> '4'");
    assert_eq!(shell.executed_by("run it"), ["data"]);
    assert_eq!(all(&shell).len(), 48);
    shell.spot("audit it").ok();
}

/// Sums of floats depend on the order of their terms, and polars adds those of a group in the order of the rows.
#[test]
fn sums_of_floats_are_the_same_for_any_number_of_threads() {
    let mut stream = Stream::new(5, "sums of floats");
    let mut rows = String::new();
    for row in 0..20_000 {
        // Of very different sizes, so that another order would be another sum.
        let value = (stream.below(1 << 20) as f64 + 0.1) * 10f64.powi(stream.below(24) as i32 - 12);
        rows += &format!("{{\"key\": \"k{}\", \"other\": {}, \"x\": {value:e}}}\n", stream.below(60), row % 7);
    }
    let names: String = (0..60).map(|key| format!("k{key},n{}\n", key % 20)).collect();
    let table = "train: data/x.jsonl
tables: {names: data/names.csv}
query: |
  select rows.key as key, count(*) as n, sum(x) as total, avg(x) as mean, stddev(x) as spread, sum(x * other) as product
  from rows group by key
  union all
  select name as key, count(*) as n, sum(x) as total, avg(x) as mean, variance(x) as spread, sum(x) as product
  from rows join names using (key) group by name
template: '{key} {n} {mean} {spread} {product}'
label: total
answer: number";
    let bytes = |threads: &str| {
        let shell = Shell::new()
            .write("pipelines/it.yaml", manifest(table))
            .write("data/x.jsonl", &rows)
            .write("data/names.csv", format!("key,name\n{names}"));
        shell.spot("run it").env("POLARS_MAX_THREADS", threads).env("RAYON_NUM_THREADS", threads).ok();
        assert_eq!(all(&shell).len(), 80);
        std::fs::read(shell.behind("it", "data", "dataset")).unwrap()
    };
    let one = bytes("1");
    assert!(["2", "3", "8"].iter().all(|threads| bytes(threads) == one));
}

#[test]
fn answers_are_the_same_for_any_number_of_threads() {
    let bytes = |threads: &str| {
        let shell = reviews();
        shell.edit(
            "pipelines/it.yaml",
            "  from rows join authors using (author)\n          where authors.trusted",
            "  from rows join authors using (author) union all select title, text, true as good, 'all' as tag from rows",
        );
        shell.spot("run it").env("POLARS_MAX_THREADS", threads).env("RAYON_NUM_THREADS", threads).ok();
        std::fs::read(shell.behind("it", "data", "dataset")).unwrap()
    };
    let one = bytes("1");
    assert!(one == bytes("4") && one == bytes("3"));
}

#[test]
fn a_test_split_may_lack_the_answers() {
    let rows: String = (0..30).map(|i| format!("text {i},{}\n", i % 2)).collect();
    let table = "train: data/train.csv
test: data/test.csv
query: select text, label from rows where text <> 'text 3'
template: '{text}'
label: label
labels: [bad, good]";
    let shell = Shell::new()
        .write("pipelines/it.yaml", manifest(table))
        .write("data/train.csv", format!("text,label\n{rows}"))
        .write("data/test.csv", "text\nhidden\ntext 3\n");
    shell
        .spot("run it")
        .ok()
        .complains("the test rows have no `label`, which the training rows have; in `query` they are null there");
    let data = dataset(&shell);
    assert_eq!((data.examples(Split::Test).len(), data.has_answers(Split::Test)), (1, false));
    // Places are those of what the query gave.
    shell.edit("data/train.csv", "text 5,1", "text 5,7");
    shell
        .spot("run it")
        .exits_with(1)
        .complains("what `query` gives of the train split")
        .complains("row 4: `label` is `7`");
}

#[test]
fn what_a_query_may_not_be_is_said_before_anything_runs() {
    let refused = |from: &str, to: &str, said: &str| {
        let shell = reviews();
        shell.edit("pipelines/it.yaml", from, to);
        shell.spot("status it").exits_with(2).complains("pipelines/it.yaml").complains(said);
    };
    let last = "where authors.trusted\n";
    refused(last, "where authors.trusted limit 5\n", "`from.table.query` has a limit");
    refused(last, "where authors.trusted order by title\n", "`from.table.query` has `order by`");
    refused(last, "where\n", "`from.table.query` is no SQL");
    refused("from rows join", "from read_csv('/etc/passwd') join", "which may read anything");
    refused("{authors: ", "{rows: ", "expected names of letters, digits and `_`, other than `rows`");
    refused("data/authors.jsonl", "data/authors.txt", "expected a file whose name ends in `.csv`");
    let shell = reviews();
    shell.put(
        "pipelines/it.yaml",
        manifest("train: data/reviews.csv\ntables: {a: data/authors.jsonl}\ntemplate: '{text}'\nlabel: stars"),
    );
    shell.spot("status it").exits_with(2).complains("is given without `query`");
}

#[test]
fn a_query_without_an_answer_says_what_there_is() {
    let fails = |from: &str, to: &str, said: &[&str]| {
        let shell = reviews();
        shell.edit("pipelines/it.yaml", from, to);
        let done = shell.spot("run it").exits_with(1);
        for said in said {
            done.complains(said);
        }
    };
    fails(
        "lower(title)",
        "lower(titel)",
        &[
            "titel",
            "`rows` has `author` (text), `title` (text)",
            "`authors` has `author` (text), `trusted` (true or false), `tags` (lists)",
        ],
    );
    fails(
        "cast(stars as int) > 2",
        "stars > 2",
        &["`query`, of the rows of the train split", "compare string with numeric type"],
    );
    fails("join authors", "join author", &["author", "`authors` has"]);
    fails(
        "label: good",
        "label: gold",
        &["what `query` gives of the train split", "no column `gold` (did you mean `good`?)"],
    );
}

#[test]
fn tables_of_a_run_are_asked_in_sql() {
    let shell = Shell::finished();
    let query = |sql: &str| shell.spot("query").arg(sql);
    let done = query("select stage, count(*) as n from scores group by stage order by stage").ok();
    done.prints("stage").prints("transfer_scores").complains("of run ");
    let json = query("select job, task, metric, value from scores where stage = 'target_scores'")
        .arg("--format")
        .arg("json")
        .ok()
        .json();
    assert_eq!(json["pipeline"], "smoke");
    let row = &json["rows"][0];
    assert!(row["job"].as_str().unwrap().starts_with("target_scores[") && row["value"].is_number(), "{row}");
    query("select task, value from scores").arg("--format").arg("csv").ok().prints("task,value\n");
    query("select job, input_ids from dataset")
        .arg("--format")
        .arg("csv")
        .ok()
        .complains("CSV has no lists: `input_ids`");

    query("select * from scores").arg("--format").arg("parquet").exits_with(2).complains("--output FILE");
    query("select * from scores").arg("smoke").arg("--format").arg("parquet").arg("--output").arg("all.parquet").ok();
    assert!(std::fs::read(shell.path("all.parquet")).unwrap().starts_with(b"PAR1"));

    query("select * from score").exits_with(2).complains("has the tables").complains("`scores`");
    query("select nothing from scores").exits_with(2).complains("nothing");
    query("drop table scores").exits_with(2).complains("the query does something else than to ask");
    query("select * from scores").arg("--run").arg("last~9").exits_with(2).complains("no run `last~9` of `smoke`");
    std::fs::remove_dir_all(shell.path("cache/v1/entries")).unwrap();
    query("select 1 as one").ok().complains("have no result, or one that is no longer in the cache");
    Shell::new().spot("query").arg("select 1").exits_with(2).complains("no run `last`");
}
