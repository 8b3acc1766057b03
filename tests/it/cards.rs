//! What `ingest` says of data: in the card of a data set, and in warnings, which `strict` makes errors.

use super::checkpoints;
use super::shell::Shell;
use serde_json::Value;

/// Two long inputs, one of which is in both files, and one input with two answers.
fn shell(strict: bool) -> Shell {
    let shell = checkpoints::shell();
    let manifest = format!(
        "version: 1\nname: own\nstages:\n  backbone: {{kind: backbone, from: {{path: model}}}}\n  data:\n    kind: ingest\n    \
         backbone: backbone\n    from:\n      table:\n        train: data/t.csv\n        validation: data/v.csv\n        \
         template: \"{{text}}\"\n        label: y\n        labels: [bad, good]\n    input_length: 8\n    strict: {strict}\n"
    );
    shell.put("pipelines/own.yaml", manifest);
    shell.put("data/t.csv", "text,y\none two three four five six seven eight nine ten,0\none,1\none,0\none,1\n");
    shell.put("data/v.csv", "text,y\none,1\ntwo,0\none two three four five six seven eight nine,1\n");
    shell
}

#[test]
fn cuts_leaks_and_contradictions_are_counted_and_said() {
    let shell = shell(false);
    let done = shell.spot("run own").ok();
    done.complains("1 of 4 inputs of the train split have more than 8 ids (the longest ")
        .complains("what was cut is not learned from; see `input_length`")
        .complains("1 of 3 inputs of the validation split have more than 8 ids")
        .complains("their answers may lie in what was cut")
        .complains("1 of 3 inputs of the validation split are in the train split too: scores on it are too high")
        .complains("of the inputs of the train split 1 are there with different labels");
    let card: Value = serde_json::from_slice(&std::fs::read(shell.behind("own", "data", "card")).unwrap()).unwrap();
    let [train, validation] = [&card["splits"][0], &card["splits"][1]];
    assert_eq!((&train["rows"], &train["duplicates"], &train["inputs"]["cut"]), (&4.into(), &1.into(), &1.into()));
    assert_eq!(train["labels"], serde_json::json!([["bad", 2], ["good", 2]]));
    assert_eq!((&validation["in_train"], &validation["hidden"]), (&1.into(), &0.into()));
    // Of equally common answers the first in their order: one of three is `bad`.
    assert_eq!(validation["majority"], 100.0 / 3.0);
    shell.spot("show data").ok().prints("contradictions").prints("most common label").prints("label `bad`");
}

#[test]
fn what_is_wrong_with_data_ends_a_strict_stage() {
    let done = shell(true).spot("run own").exits_with(1);
    done.complains("`strict`: 1 of 4 inputs of the train split have more than 8 ids")
        .complains("; 1 of 3 inputs of the validation split are in the train split too");
}
