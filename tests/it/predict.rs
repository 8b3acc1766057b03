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
