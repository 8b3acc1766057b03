//! `spot predict`: tuned prompts at work on new text.

use super::shell::Shell;
use serde_json::{Value, json};
use spot::data::Predictions;

/// What the pipeline itself predicted on the validation split of a task.
fn predicted(shell: &Shell, task: &str) -> Predictions {
    let job = format!("target_scores[{task},0]");
    let bytes = std::fs::read(shell.behind("smoke", &job, "predictions")).unwrap();
    Predictions::from_parquet(&bytes).unwrap()
}

fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn answers_are_those_of_evaluate() {
    let shell = Shell::finished();
    let known = predicted(&shell, "w_mood");
    let rows = known.ids.iter().zip(&known.inputs).map(|(id, input)| json!({"id": id, "input": input}));
    shell.put("new.jsonl", lines(rows));
    shell.put("new.txt", known.inputs.join("\n"));
    for batch in ["1", "3", "512"] {
        let with = format!("--prompt target[w_mood,0] --decoding greedy --batch {batch}");
        let found = shell.spot(&format!("predict new.jsonl {with}")).ok().lines();
        let answers: Vec<&str> = found.iter().map(|line| line["answer"].as_str().unwrap()).collect();
        assert_eq!(answers, known.answers, "batches of {batch}");
        let ids: Vec<&str> = found.iter().map(|line| line["id"].as_str().unwrap()).collect();
        assert_eq!(ids, known.ids, "in the order of the input");
        let plain = shell.spot(&format!("predict new.txt --complete {with}")).ok().lines();
        assert!(plain.iter().map(|line| &line["answer"]).eq(found.iter().map(|line| &line["answer"])));
        assert_eq!(plain[2]["id"], 3, "a line of text is known by its number");
    }
}

#[test]
fn labels_have_likelihoods_and_probabilities() {
    let shell = Shell::finished();
    shell.put("new.jsonl", lines([json!({"input": predicted(&shell, "w_mood").inputs[0]})]));
    let own = shell.spot("predict new.jsonl --prompt target[w_mood,0]").ok().lines().remove(0);
    let labels: Vec<&String> = own["log_likelihood"].as_object().unwrap().keys().collect();
    assert!(labels.len() > 1, "the labels of the task: {own}");
    for name in ["log_likelihood", "probability"] {
        let of = |label: &str| own[name][label].as_f64().unwrap();
        let best = labels.iter().max_by(|a, b| of(a).total_cmp(&of(b))).unwrap();
        assert_eq!(own["answer"], best.as_str(), "{name}");
    }
    let sum: f64 = own["probability"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    // Ratios of probabilities are those of likelihoods, whatever other labels there are.
    let asked = format!("predict new.jsonl --prompt target[w_mood,0] --labels {},maybe", labels[0]);
    let other = shell.spot(&asked).ok().lines().remove(0);
    assert_eq!(other["log_likelihood"][labels[0]], own["log_likelihood"][labels[0]]);
    assert!(other["probability"]["maybe"].is_f64());
}

#[test]
fn every_row_may_have_a_prompt_of_its_own() {
    let shell = Shell::finished();
    let (mood, animal) = (predicted(&shell, "w_mood").inputs, predicted(&shell, "w_animal").inputs);
    let prompts = ["target[w_mood,0]", "target[w_animal,0]"];
    let mixed = mood.iter().zip(&animal).flat_map(|(mood, animal)| {
        [json!({"input": mood, "prompt": prompts[0]}), json!({"input": animal, "prompt": prompts[1]})]
    });
    shell.put("mixed.jsonl", lines(mixed));
    let together = shell.spot("predict mixed.jsonl").ok().lines();
    for (which, (inputs, prompt)) in [(&mood, prompts[0]), (&animal, prompts[1])].into_iter().enumerate() {
        shell.put("alone.jsonl", lines(inputs.iter().map(|input| json!({"input": input}))));
        let alone = shell.spot(&format!("predict alone.jsonl --prompt {prompt}")).ok().lines();
        let of = together.iter().skip(which).step_by(2);
        let same = of.zip(&alone).all(|(one, other)| {
            ["answer", "log_likelihood", "probability"].iter().all(|field| one[field] == other[field])
        });
        assert!(same, "{prompt}: to the bit what its rows get alone");
    }
}

#[test]
fn templates_make_inputs_of_columns() {
    let shell = Shell::finished();
    let json = lines([json!({"id": "x", "a": "good", "b": 2}), json!({"id": "y", "a": "bad", "b": 3})]);
    let csv = "b,id,a\n2,x,good\n3,y,bad\n";
    let tsv = "id\ta\tb\nx\tgood\t2\ny\tbad\t3\n";
    let asked = "--prompt target[w_mood,0] --labels good,bad";
    let outputs = [("new.jsonl", json.as_str()), ("new.csv", csv), ("new.tsv", tsv)].map(|(name, content)| {
        shell.put(name, content);
        let spot = shell.spot(&format!("predict {name} {asked} --template")).arg("mood {a} {b}");
        let done = spot.ok();
        done.complains("the first input is `mood good 2`");
        done.lines()
    });
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
    shell.put("new.json", r#"[{"id": "x", "a": "good", "b": 2}, {"id": "y", "a": "bad", "b": 3}]"#);
    let array = shell.spot(&format!("predict new.json {asked} --template")).arg("mood {a} {b}").ok();
    assert_eq!(array.lines(), outputs[0]);
    // A template may name the column `input`, which is then no whole input.
    shell.put("named.jsonl", lines([json!({"id": "x", "input": "good 2"}), json!({"id": "y", "input": "bad 3"})]));
    let named = shell.spot(&format!("predict named.jsonl {asked} --template")).arg("mood {input}").ok();
    assert_eq!(named.lines(), outputs[0]);
    let complete = lines([json!({"id": "x", "input": "mood good 2"}), json!({"id": "y", "input": "mood bad 3"})]);
    shell.put("complete.jsonl", complete);
    assert_eq!(shell.spot(&format!("predict complete.jsonl {asked}")).ok().lines(), outputs[0]);
}

#[test]
fn inputs_of_new_rows_are_spaced_as_those_that_were_learned() {
    let manifest = "version: 1
name: it
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {table: {train: data/mood.jsonl, template: '{text}', label: mood, spaced_punctuation: true}}
  prompt:
    {kind: tune, backbone: backbone, data: data, length: 4, training: {steps: 2, batch_size: 8, evaluate_every: 2}}
";
    let mood = |i: usize| ["good", "bad"][i % 2];
    let row = |i: usize| json!({"text": format!("well,done {i}"), "mood": mood(i)});
    let shell = Shell::new().write("pipelines/it.yaml", manifest).write("data/mood.jsonl", lines((0..30).map(row)));
    shell.spot("run it").ok();
    let likely = |row: Value| {
        shell.put("new.jsonl", lines([row]));
        let said = shell.spot("predict new.jsonl --prompt prompt --labels good,bad").ok().lines().remove(0);
        said["log_likelihood"].clone()
    };
    let found = likely(json!({"text": "well,done"}));
    assert_eq!(found, likely(json!({"input": "mood well , done"})));
    assert_ne!(found, likely(json!({"input": "mood well,done"})), "they are other pieces");
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_line() {
    let shell = Shell::finished();
    let refused_by = |code: i32, content: &str, with: &str, message: &str| {
        shell.put("new.jsonl", content);
        shell.spot(&format!("predict new.jsonl {with}")).exits_with(code).complains(message);
    };
    let refused = |content: &str, with: &str, message: &str| refused_by(2, content, with, message);
    let damaged = |content: &str, with: &str, message: &str| refused_by(1, content, with, message);
    let prompt = "--prompt target[w_mood,0]";
    refused("{\"input\": \"a\"}\n", "", "no prompt; give `--prompt`");
    refused("{\"input\": \"a\"}\n", "--prompt target[w_moot,0]", "did you mean `target[w_mood,0]`?");
    let second = "{\"input\": \"a\"}\n{\"input\": \"b\", \"prompt\": \"nobody\"}\n";
    refused(second, prompt, "new.jsonl: line 2: nothing in the cache is called `nobody`");
    damaged("{\"input\": \"a\"}\n{\"input\": [1]}\n", prompt, "new.jsonl: line 2: `input` is ");
    damaged("{\"input\": \"a\"}\n{\"inp", prompt, "new.jsonl: line 2");
    damaged("{\"words\": \"a\"}\n", prompt, "new.jsonl: line 1: no column `text`");
    damaged("{\"words\": \"a\"}\n", &format!("{prompt} --complete"), "new.jsonl: line 1: no `input`");
    damaged("{\"a\": \"x\"}\n", &format!("{prompt} --template {{b}}"), "new.jsonl: line 1: no column `b`");
    refused("{\"input\": \"a\"}\n", &format!("{prompt} --input-length 1"), "`--input-length` is at least 2");
    damaged("[{\"input\": \"a\"}, {\"input\": \"b\"}]\n", prompt, "line 1: 2 objects, expected one on a line");
    damaged("{\"input\": \"  \"}\n", prompt, "line 1: the input is empty");
    let both = "{\"input\": \"a\", \"text\": \"b\"}\n";
    refused(
        both,
        &format!("{prompt} --template {{text}}"),
        "line 1: an `input`, which is whole by itself, beside a `--template`",
    );
    refused("{\"input\": \"a\"}\n", &format!("{prompt} --beams 3"), "`--beams` belongs to `--decoding beam`");
    damaged(
        "{\"input\": \"a\"}\n",
        &format!("{prompt} --labels \u{4e2d},\u{56fd}"),
        "are the same tokens for this model",
    );
    // Another model of the prompt's width, and one of another width.
    shell.put_backbone("alike", 128);
    damaged("{\"input\": \"a\"}\n", &format!("{prompt} --backbone alike"), "was tuned on the backbone ");
    shell.put_backbone("other", 8);
    damaged("{\"input\": \"a\"}\n", &format!("{prompt} --backbone other"), "the backbone's embedding width is 8");
    shell.put("bad.txt", b"good\n\xff\n");
    shell
        .spot(&format!("predict bad.txt --complete {prompt}"))
        .exits_with(1)
        .complains("bad.txt: line 2: not UTF-8 at its byte 0");
    // A prompt from elsewhere does not say which model it is of.
    shell.spot("prompt export target[w_mood,0] --to a.npy").ok();
    refused(
        "{\"input\": \"a\"}\n",
        "--prompt a.npy",
        "does not say on which model it was tuned; name the model by `--backbone`",
    );
    shell.put("new.txt", "a\n");
    let text = shell.spot("predict new.txt --prompt a.npy --backbone backbone").exits_with(2);
    text.complains("nothing says what a line of text is; give `--complete` if it is a whole input");
    refused("{\"input\": \"a\"}\n", &format!("{prompt} --labels x,y,x"), "`--labels` has `x` twice");
    shell.put("new.jsonl", "{\"input\": \"a\"}\n");
    let own = shell.spot(&format!("predict new.jsonl {prompt} --labels x,y")).ok().lines();
    let same = shell.spot("predict new.jsonl --prompt a.npy --backbone backbone --labels x,y").ok().lines();
    assert_eq!(own, same, "the same prompt from a file");
}

#[test]
fn ids_come_back_as_they_were_and_packed_lines_are_unpacked() {
    let shell = Shell::finished();
    let rows = "{\"id\": 7, \"input\": \"a\"}\n{\"id\": \"007\", \"input\": \"a\"}\n{\"input\": \"a\"}\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, rows.as_bytes()).unwrap();
    shell.put("new.jsonl.gz", packed.finish().unwrap());
    let found = shell.spot("predict new.jsonl.gz --prompt target[w_mood,0]").ok().lines();
    let ids: Vec<&Value> = found.iter().map(|line| &line["id"]).collect();
    assert_eq!(ids, [&json!(7), &json!("007"), &json!(3)]);
}

#[test]
fn what_is_cut_is_said() {
    let shell = Shell::finished();
    shell.put("short.txt", "one two three");
    let asked = "predict short.txt --complete --prompt target[w_mood,0] --decoding greedy --answer-length 1";
    shell.spot(asked).ok().complains("1 of 1 answers are as long as they may be, and may go on; see `--answer-length`");
    shell.put("long.txt", "word ".repeat(100));
    let done = shell.spot("predict long.txt --complete --prompt target[w_mood,0] --input-length 32").ok();
    done.complains("1 of 1 inputs have more than 32 ids and were cut; see `--input-length`");
}

// ---- the same as a stage ------------------------------------------------------------------------------------------------

/// A folder with the finished smoke pipeline, to which stages are added.
fn with_stages(stages: &str) -> Shell {
    let shell = Shell::finished();
    let text = shell.read("pipelines/smoke.yaml");
    shell.put("pipelines/smoke.yaml", format!("{}\n\n{stages}\n", text.trim_end()));
    shell
}

/// Rows that only two prompts together can answer.
fn mixed(shell: &Shell) -> String {
    let (mood, animal) = (predicted(shell, "w_mood").inputs, predicted(shell, "w_animal").inputs);
    lines(mood.iter().zip(&animal).enumerate().flat_map(|(at, (mood, animal))| {
        [
            json!({"id": at, "input": mood, "prompt": "target[w_mood,0]"}),
            json!({"id": format!("a{at}"), "input": animal, "prompt": "target[w_animal,0]"}),
            json!({"input": mood}),
        ]
    }))
}

const DATA: &str = r#"data: ["data[w_mood]", "data[w_animal]"]"#;

const NEW: &str = r#"  new:
    kind: predict
    backbone: backbone
    prompt: target[w_mood,0]
    prompts: {"target[w_mood,0]": "target[w_mood,0]", "target[w_animal,0]": "target[w_animal,0]"}
    data: ["data[w_mood]", "data[w_animal]"]
    file: new.jsonl"#;

#[test]
fn a_stage_writes_the_lines_of_the_command() {
    let shell = with_stages(NEW);
    shell.put("new.jsonl", mixed(&shell));
    assert_eq!(shell.executed_by("run smoke --only new"), ["new"]);
    let written = || std::fs::read_to_string(shell.behind("smoke", "new", "predictions.jsonl")).unwrap();
    let found = written();
    let command = shell.spot("predict new.jsonl --prompt target[w_mood,0]").ok();
    assert_eq!(found, command.out, "byte by byte");
    let counts = std::fs::read_to_string(shell.behind("smoke", "new", "counts")).unwrap();
    let rows = found.lines().count();
    let expected = json!({"rows": rows, "cut_inputs": 0, "unfinished_answers": 0});
    assert_eq!(serde_json::from_str::<Value>(&counts).unwrap(), expected);
    assert!(shell.executed_by("run smoke --only new").is_empty(), "it is served from the cache");
    // Where the file lies and what the stage is called do not matter, the rows do.
    std::fs::rename(shell.path("new.jsonl"), shell.path("moved.jsonl")).unwrap();
    shell.edit("pipelines/smoke.yaml", "file: new.jsonl", "file: moved.jsonl");
    shell.edit("pipelines/smoke.yaml", "  new:\n", "  renamed:\n");
    assert!(shell.executed_by("run smoke --only renamed").is_empty());
    shell.put("moved.jsonl", lines([json!({"input": "a", "prompt": "target[w_animal,0]"})]));
    assert_eq!(shell.executed_by("run smoke --only renamed"), ["renamed"]);
}

#[test]
fn a_stage_reads_every_form_and_a_command_reads_the_stage() {
    let stages = r#"  asked: {kind: predict, backbone: backbone, prompt: "target[w_mood,0]", file: a.csv, labels: [good, bad],
    template: "mood {a} {b}"}
  packed: {kind: predict, backbone: backbone, prompt: "target[w_mood,0]", file: a.tsv.gz, labels: [good, bad],
    template: "mood {a} {b}"}
  whole: {kind: predict, backbone: backbone, prompt: "target[w_mood,0]", file: a.txt, labels: [good, bad], complete: true}
  made: {kind: predict, backbone: backbone, prompt: "target[w_mood,0]", file: {output: copy.a.csv}, labels: [good, bad],
    template: "mood {a} {b}"}
  copy: {kind: command, run: [cp, "{rows}", "{a.csv}"], inputs: {rows: a.csv}, outputs: [a.csv]}
  count: {kind: command, run: [sh, "{script}"], inputs: {script: count.sh, rows: {output: asked.predictions.jsonl}},
    outputs: [n.txt]}
  free: {kind: predict, backbone: backbone, prompt: "target[w_mood,0]", file: a.txt, complete: true, answer_length: 3,
    decoding: {sample: {temperature: 3.0, seed: 5}}}"#;
    let shell = with_stages(stages).write("count.sh", "wc -l < \"$SPOT_IN_rows\" > \"$SPOT_OUT/n.txt\"\n");
    shell.put("a.csv", "b,id,a\n2,x,good\n3,y,bad\n");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, b"id\ta\tb\nx\tgood\t2\ny\tbad\t3\n").unwrap();
    shell.put("a.tsv.gz", packed.finish().unwrap());
    shell.put("a.txt", "mood good 2\r\nmood bad 3");
    shell.spot("run smoke --only packed --only whole --only made --only count --only free").ok();
    let written = |job: &str| std::fs::read_to_string(shell.behind("smoke", job, "predictions.jsonl")).unwrap();
    let asked = written("asked");
    assert_eq!(asked.lines().count(), 2);
    assert_eq!(written("packed"), asked);
    assert_eq!(written("made"), asked);
    assert_eq!(written("whole"), asked.replace("\"x\"", "1").replace("\"y\"", "2"), "lines are known by their numbers");
    assert_eq!(std::fs::read_to_string(shell.behind("smoke", "count", "n.txt")).unwrap().trim(), "2");
    let free = written("free");
    assert!(free.lines().count() == 2 && !free.contains("log_likelihood"), "{free}");
}

#[test]
fn what_a_stage_cannot_answer_is_refused_with_its_line() {
    let shell = with_stages(NEW);
    let failed = |content: &str, messages: &[&str]| {
        shell.put("new.jsonl", content);
        let done = shell.spot("run smoke --only new").exits_with(1);
        for message in messages {
            done.complains(message);
        }
    };
    failed("", &["`new.jsonl`: no rows, expected one at least"]);
    failed("\n\n", &["`new.jsonl`: no rows"]);
    let row = "{\"input\": \"a\"}\n";
    let unknown = format!("{row}{{\"input\": \"b\", \"prompt\": \"target[w_moot,0]\"}}\n");
    failed(
        &unknown,
        &["new.jsonl: line 2: `prompt` is `target[w_moot,0]`, which is no name", "did you mean `target[w_mood,0]`?"],
    );
    failed(&format!("{row}{{\"input\": NaN}}\n"), &["new.jsonl: line 2"]);
    failed(&format!("{row}{row}{{\"input\": 1, \"in"), &["new.jsonl: line 3"]);
    failed("{\"words\": \"a\"}\n", &["new.jsonl: line 1: no column `text`"]);
    failed("{\"text\": \" \", \"input\": \" \"}\n", &["line 1: the input is empty"]);
    // Nothing of what failed is kept.
    shell.put("new.jsonl", row);
    shell.spot("run smoke --only new").ok();
    shell.edit(
        "pipelines/smoke.yaml",
        "    prompt: target[w_mood,0]\n    prompts: {\"target",
        "    prompts: {\"target",
    );
    failed(row, &["new.jsonl: line 1: no field `prompt`, expected one of the names in `prompts`"]);
    shell.edit("pipelines/smoke.yaml", DATA, "data: data[w_mood]");
    failed(
        row,
        &[
            "`prompts.target[w_animal,0]`: `target[w_animal,0].prompt`: its task is `w_animal`, but `data` is of `w_mood`",
        ],
    );
    shell.edit("pipelines/smoke.yaml", "data: data[w_mood]\n    file", "labels: [\u{4e2d}, \u{56fd}]\n    file");
    failed(row, &["are the same tokens for this model"]);
    shell.edit("pipelines/smoke.yaml", "labels: [\u{4e2d}, \u{56fd}]\n    file", "decoding: greedy\n    file");
    shell.edit(
        "pipelines/smoke.yaml",
        "    prompts: {\"target",
        "    prompt: target[w_mood,0]\n    prompts: {\"target",
    );
    failed(
        "{\"a\": \"x\"}\n",
        &["line 1: no `input`, and nothing says which columns make one; give `template: \"sst2"],
    );
    shell.edit("pipelines/smoke.yaml", "file: new.jsonl", "file: new.jsonl\n    input: text");
    failed(row, &["nothing says what a line of text is; give `complete: true`"]);
}

#[test]
fn a_manifest_cannot_ask_for_predictions_that_make_no_sense() {
    let shell = with_stages(NEW);
    let text = shell.read("pipelines/smoke.yaml");
    let wrong = |from: &str, to: &str, message: &str| {
        shell.put("pipelines/smoke.yaml", text.replace(from, to));
        shell.spot("status smoke").exits_with(2).complains(message);
    };
    wrong("file: new.jsonl", "file: new.jsonl\n    labels: [good, good]", "has `good` twice");
    wrong("file: new.jsonl", "file: new.jsonl\n    labels: [\"good \"]", "`good ` with white space around it");
    wrong("\"target[w_animal,0]\": ", "\"target[w_mood,0]\": ", "appears here a second time");
    wrong("prompt: target[w_mood,0]\n", "prompt: data[w_mood]\n", "prompt");
    wrong("file: new.jsonl", "file: new.jsonl\n    template: \"{a\"", "without its partner");
    // Another model than that of the prompts, and one of another width.
    for (width, message) in [(128, "was tuned on the backbone "), (8, "the backbone's embedding width is 8")] {
        shell.put_backbone("other", width);
        let stage = NEW.replace("backbone: backbone", "backbone: other");
        let other = "  other: {kind: backbone, from: {path: other}}\n";
        shell.put("pipelines/smoke.yaml", text.replace(NEW, &format!("{other}{stage}")));
        shell.put("new.jsonl", "{\"input\": \"a\"}\n");
        shell.spot("run smoke --only new").exits_with(1).complains(message);
    }
}

#[test]
fn an_interrupted_stage_goes_on_where_it_was() {
    let shell = with_stages(&NEW.replace(DATA, "labels: [good, bad]"));
    let row = |at: usize| json!({"id": at, "input": format!("good {at}"), "prompt": "target[w_mood,0]"});
    shell.put("new.jsonl", lines((0..2000).map(row)));
    let child = shell.spot("run smoke --only new").start();
    let answered = || {
        let partial = std::fs::read_dir(shell.path("cache/v1/partial")).into_iter().flatten();
        let sizes = partial.filter_map(|item| item.ok()?.path().join("predictions.jsonl").metadata().ok());
        sizes.map(|metadata| metadata.len()).sum::<u64>()
    };
    while answered() == 0 && shell.path("cache/v1/locks").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let before = answered();
    assert!(before > 0);
    shell.spot("run smoke --only new").ok();
    let written = std::fs::read_to_string(shell.behind("smoke", "new", "predictions.jsonl")).unwrap();
    assert_eq!(written.lines().count(), 2000);
    assert!(before < written.len() as u64, "it was not at the end");
    // Every fiftieth row, before and behind the place of the interruption.
    shell.put("some.jsonl", lines((0..2000).step_by(50).map(row)));
    let some: String = written.lines().step_by(50).map(|line| format!("{line}\n")).collect();
    assert_eq!(some, shell.spot("predict some.jsonl --labels good,bad").ok().out);
    let counts = std::fs::read_to_string(shell.behind("smoke", "new", "counts")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&counts).unwrap()["rows"], 2000);
}
