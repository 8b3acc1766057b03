//! Matrices of transfer scores that someone already has.

use super::shell::{PROJECT, Shell};
use std::path::Path;

/// Transfer between tasks with T5-base (Vu et al. 2022, table 6), as CSV.
fn published() -> Vec<u8> {
    std::fs::read(Path::new(PROJECT).join("tests/golden/spot_table6.csv")).unwrap()
}

/// Relative error reductions of the paper's table 7, in %: source, target.
const TABLE_7: [(&str, &str, f64); 30] = [
    ("MNLI", "CB", 58.9),
    ("MNLI", "COPA", 29.1),
    ("ReCoRD", "WSC", 20.0),
    ("MNLI", "RTE", 19.2),
    ("ReCoRD", "MRPC", 18.7),
    ("SQuAD", "MRPC", 18.7),
    ("CxC", "WiC", 18.1),
    ("MNLI", "BoolQ", 17.0),
    ("MNLI", "MRPC", 16.5),
    ("QNLI", "WiC", 16.5),
    ("MNLI", "WiC", 16.2),
    ("CxC", "STS-B", 16.0),
    ("DROP", "MRPC", 15.1),
    ("SQuAD", "COPA", 14.5),
    ("QQP", "MRPC", 14.4),
    ("CxC", "MRPC", 13.7),
    ("C4", "MRPC", 13.7),
    ("CosmosQA", "MRPC", 12.9),
    ("CosmosQA", "COPA", 12.9),
    ("QQP", "COPA", 12.2),
    ("QNLI", "MRPC", 12.2),
    ("QQP", "WiC", 11.8),
    ("MNLI", "STS-B", 11.8),
    ("SQuAD", "BoolQ", 11.1),
    ("QQP", "STS-B", 10.9),
    ("QQP", "BoolQ", 10.7),
    ("CxC", "BoolQ", 10.7),
    ("DROP", "WiC", 10.7),
    ("QQP", "RTE", 10.5),
    ("C4", "BoolQ", 10.4),
];

#[test]
fn the_published_matrix_gives_the_published_numbers() {
    let shell = Shell::new().write("table6.csv", published());
    let found = shell.spot("analyse table6.csv --format json").ok().json();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let rounded = |value: &serde_json::Value| (100.0 * number(value)).round() / 100.0;
    assert_eq!(rounded(&found["baseline_mean"]), 74.68);
    assert_eq!(rounded(&found["best_per_target_mean"]), 79.42);
    assert_eq!(rounded(&found["source_mean"]["MNLI"]), 78.59);
    for (source, mean) in
        [("QNLI", 76.6), ("SQuAD", 76.6), ("QQP", 76.5), ("CxC", 76.2), ("RACE", 73.4), ("HellaSWAG", 70.8)]
    {
        assert!((number(&found["source_mean"][source]) - mean).abs() < 0.0501, "{source}");
    }
    assert_eq!([&found["helping"], &found["hurting"], &found["tied"]], [93, 60, 7]);
    for (source, target, published) in TABLE_7 {
        let ours = number(&found["relative_error_reduction"][source][target]);
        assert!((ours - published).abs() < 0.0501, "{source} to {target}: {ours}, published {published}");
    }
}

#[test]
fn a_matrix_is_shown_as_text_and_markdown() {
    let shell = Shell::new().write("table6.csv", published());
    let text = shell.spot("analyse table6.csv").ok();
    text.prints("93 help, 60 hurt, 7 tie").prints("no transfer").prints("+58.9");
    shell.spot("analyse table6.csv --format markdown").ok().prints("| MNLI |").prints("## Mean scores");
}

#[test]
fn similarities_are_correlated_with_transfer_by_name_not_by_place() {
    let matrix = "source,a,b\nBASELINE,50,60\nx,60,55\ny,70,60\nz,80,90\n";
    let similarity = "source,b,a\nz,0.3,0.1\nx,0.1,0.3\ny,0.2,0.2\n";
    let shell = Shell::new().write("m.csv", matrix).write("s.csv", similarity);
    let found = shell.spot("analyse m.csv --similarity s.csv --format json").ok().json();
    assert_eq!(found["correlation"]["a"]["spearman"], -1.0);
    assert_eq!(found["correlation"]["b"]["spearman"], 1.0);
    assert_eq!(found["correlation"]["b"]["sources"], 3);
    // Of six orders of three sources two are as extreme.
    assert_eq!(found["correlation"]["b"]["spearman_p"], 2.0 / 6.0);
    shell.spot("analyse m.csv --similarity s.csv").ok().prints("Spearman");
}

#[test]
fn deviations_stand_beside_scores_in_every_form() {
    let matrix = "source,a,b\nBASELINE,50,60\nx,60,55\ny,70,60\n";
    let deviations = "source,b,a\ny,0.5,0.25\nBASELINE,2,1.5\nx,0,3\n";
    let shell = Shell::new().write("m.csv", matrix).write("d.csv", deviations);
    shell.spot("analyse m.csv --deviations d.csv").ok().prints("70.0 ± 0.2").prints("50.0 ± 1.5").prints("55.0 ± 0.0");
    shell.spot("analyse m.csv --deviations d.csv --format html").ok().prints("±1.5").prints("±3.0");
    let found = shell.spot("analyse m.csv --deviations d.csv --format json").ok().json();
    assert_eq!(found["deviation"]["x"], serde_json::json!({"a": 3.0, "b": 0.0}));
    let without = shell.spot("analyse m.csv --format json").ok().json();
    assert!(without.get("deviation").is_none() && !shell.spot("analyse m.csv").ok().out.contains('±'));
    for (text, complaint) in [
        ("source,a,b\nBASELINE,1,1\nx,1,1\n", "d.csv: no row `y`"),
        ("source,a,b\nBASELINE,1,1\nx,1,1\ny,1,\n", "d.csv: no deviation of `y` on `b`, which has a score"),
        ("source,a,b\nx,1,1\ny,1,1\n", "d.csv: no row `BASELINE`"),
        ("source,a\nBASELINE,1\nx,1\ny,1\n", "d.csv: no column `b`"),
        (
            "source,a,b\nBASELINE,1,1\nx,-1,1\n",
            "d.csv: line 3, column `a`: `-1`, expected a number from 0 to 100, or nothing",
        ),
    ] {
        shell.put("d.csv", text);
        shell.spot("analyse m.csv --deviations d.csv").exits_with(2).complains(complaint);
    }
}

#[test]
fn a_file_gets_the_result_as_a_whole_or_not_at_all() {
    let shell = Shell::new().write("table6.csv", published());
    let said = shell.spot("analyse table6.csv --format markdown --output x.md").ok();
    assert_eq!(said.out, "");
    assert_eq!(shell.read("x.md"), shell.spot("analyse table6.csv --format markdown").ok().out);
    shell.put("bad.csv", "source,a\nBASELINE,1\nx,NaN\n");
    shell.spot("analyse bad.csv --format markdown --output x.md").exits_with(2);
    assert!(shell.read("x.md").contains("MNLI"), "the earlier result is still there");
    shell.spot("analyse table6.csv --format parquet").exits_with(2).complains("--output");
    shell.spot("analyse table6.csv --format parquet --output x.parquet").ok();
    let mut table = spot::data::Table::from_parquet(&std::fs::read(shell.path("x.parquet")).unwrap()).unwrap();
    assert_eq!((table.rows(), table.columns.len()), (160, 7));
    assert_eq!(table.take_text("target").unwrap()[9], "CB");
}

#[test]
fn pages_of_equal_matrices_are_equal_and_linkage_is_a_setting() {
    let shell = Shell::new()
        .write("m.csv", "source,a,b\nBASELINE,50,60\nx,60,55\ny,70,60\nz,71,61\n")
        .write("s.csv", "source,a,b\nx,0,0\ny,0.5,0.1\nz,0.9,0.4\n");
    let page = |more: &str| shell.spot(&format!("analyse m.csv --similarity s.csv --format html {more}")).ok().out;
    assert_eq!(page(""), page("--linkage average"));
    assert!(page("").contains("x with (y, z) at 0.7474"), "the mean of 0.5099 and 0.9849");
    assert!(page("--linkage single").contains("x with (y, z) at 0.5099"));
    assert!(page("--linkage complete").contains("x with (y, z) at 0.9849"));
}

#[test]
fn wrong_matrices_are_told_where_they_are_wrong() {
    for (text, complaint) in [
        ("source,a\nBASELINE,50\n", "no score of a source on another task"),
        ("source,a\nBASELINE,50\nx,\n", "no score of a source on another task"),
        ("source,a\nBASELINE,1\nx,NaN\n", "line 3, column `a`: `NaN`, expected a number from -100 to 100"),
        ("source,a\nBASELINE,1\nx,101\n", "`101`"),
        ("source,a\nbaseline,51\nx,50\n", "`baseline` may be the row without transfer"),
        ("source,a,b\nBASELINE,51,\nx,50,50\n", "`BASELINE` has no score of `b`; fill it in, or leave the row out"),
        ("source,a\nBASELINE,0.5\nx,0.7\n", "as fractions that is 70 %, as percentages 0.7 %; say `--scale fraction`"),
        ("source,a\nBASELINE,0\nx,1\n", "as fractions that is 100 %, as percentages 1 %"),
        ("source,target,score,loss\nx,a,50,1\n", "and `loss`; a long table may have seed"),
        ("source,target,score\nx,,50\n", "line 2, column `target`: empty, expected a name"),
        ("source,target,score\nx,a,50\nx,a,60\n", "has `a` from `x` twice"),
        ("source,a,b\nBASELINE,1,2\nx,1\n", "2 fields"),
        ("source,a,a\nBASELINE,1,2\n", "two columns `a`"),
        ("source,a\nBASELINE,1\nx,1\nx,2\n", "two rows `x`"),
        ("source\nBASELINE\n", "one column"),
        ("source;a\nBASELINE;50\n", "`;` does not separate columns, a comma does"),
        ("source,a\n", "no score below the header"),
        ("", "one column"),
    ] {
        Shell::new().write("m.csv", text).spot("analyse m.csv").exits_with(2).complains("m.csv").complains(complaint);
    }
    let shell = Shell::new().write("m.csv", "source,a\nBASELINE,10\nx,20\n").write("s.csv", "source,a\ny,0.5\n");
    shell.spot("analyse m.csv --similarity s.csv").exits_with(2).complains("s.csv: no row `x`");
    shell.spot("analyse m.csv --baseline none").exits_with(2).complains("m.csv: no row `none`");
    shell.spot("analyse m.csv --scale fraction").exits_with(2).complains("`--scale fraction`, but a score is 20");
    shell.spot("analyse nothing.csv").exits_with(2).complains("nothing.csv");
}

#[test]
fn fractions_and_negative_scores_are_read_as_they_are_meant() {
    let shell = Shell::new()
        .write("fractions.csv", "source,a\nBASELINE,0.5\nx,0.7\ny,-0.1\n")
        .write("percent.csv", "source,a\nBASELINE,50\nx,70\ny,-10\n");
    let found = shell.spot("analyse fractions.csv --scale fraction --format json").ok().json();
    assert_eq!(found["relative_error_reduction"]["x"]["a"], 40.0);
    let percent = shell.spot("analyse percent.csv --format json").ok().json();
    for part in ["baseline_mean", "source_mean", "relative_error_reduction", "helping"] {
        assert_eq!(found[part], percent[part], "{part}");
    }
    let said = shell.spot("analyse fractions.csv --scale percent --format json").ok().json();
    assert!((said["source_mean"]["x"].as_f64().unwrap() - 0.7).abs() < 1e-12);
    // One column of fractions among percentages is told.
    shell.put("mixed.csv", "source,a,b\nBASELINE,50,0.3\nx,70,0.4\n");
    shell.spot("analyse mixed.csv").ok().prints("All scores of `b` are between -1 and 1");
}

#[test]
fn deviations_and_runs_tell_what_can_be_ranked() {
    let deviations = std::fs::read(Path::new(PROJECT).join("tests/golden/spot_table6_deviations.csv")).unwrap();
    let shell = Shell::new().write("table6.csv", published()).write("sd.csv", deviations);
    let found = shell.spot("analyse table6.csv --deviations sd.csv --runs 3 --format json").ok().json();
    let reliability = |target: &str| found["reliability"][target]["reliability"].as_f64().unwrap();
    assert_eq!(reliability("CR"), 0.0);
    assert!((reliability("CoLA") - 0.57).abs() < 0.005, "{}", reliability("CoLA"));
    let said = shell.spot("analyse table6.csv --deviations sd.csv --runs 3").ok();
    said.prints("0, unrankable").prints("The sources of `CR` cannot be ranked");
    // How many runs there were is not guessed.
    let unknown = shell.spot("analyse table6.csv --deviations sd.csv --format json").ok().json();
    assert!(unknown.get("reliability").is_none());
    shell.spot("analyse table6.csv --deviations sd.csv").ok().prints("`--runs N` tells how reliable");
}

#[test]
fn square_matrices_without_a_baseline_leave_out_tasks_on_themselves() {
    let matrix = "source,a,b,c,d\na,99,60,40,50\nb,70,99,45,\nc,50,40,99,55\nd,60,50,41,99\n";
    let similarity = "source,a,b,c,d\na,1,.6,.1,.3\nb,.6,1,.5,.2\nc,.1,.5,1,.4\nd,.3,.2,.4,1\n";
    let shell = Shell::new().write("m.csv", matrix).write("s.csv", similarity);
    let found = shell.spot("analyse m.csv --similarity s.csv --format json").ok().json();
    assert_eq!((&found["baseline_mean"], &found["correlation"]["a"]["prompts"]), (&serde_json::Value::Null, &3.into()));
    assert_eq!(found["correlation"]["a"]["spearman"], 1.0);
    assert_eq!(found["source_mean"]["a"], 50.0, "without 99");
    assert!(found["overall"]["p"].is_number(), "tasks are exchanged, rows and columns together");
    assert_eq!(found["methods"][0]["name"], "random source, expected", "there is no other baseline");
    let said = shell.spot("analyse m.csv --similarity s.csv").ok();
    said.prints("4 scores of a task on itself are left out").prints("1 of 16 pairs have no score");
    assert!(!said.out.contains("error reduction"), "{}", said.out);
    shell.spot("analyse m.csv --similarity s.csv --format html").ok().prints("Ways to choose a source");
}

#[test]
fn long_tables_have_seeds_and_similarities_in_columns() {
    let mut table = "source,target,seed,score,similarity\n".to_owned();
    let scores = [("x", 70.0, 0.9), ("y", 60.0, 0.5), ("z", 50.0, 0.1)];
    for target in ["a", "b"] {
        for seed in 0..3 {
            table += &format!("BASELINE,{target},{seed},{},\n", 55 + seed);
            for (source, score, alike) in scores {
                table += &format!("{source},{target},{seed},{},{alike}\n", score + f64::from(seed));
            }
        }
    }
    let shell = Shell::new().write("long.csv", table);
    let costs = "--source-steps 100 --target-steps 10 --embedding-steps 5";
    let found = shell.spot(&format!("analyse long.csv --format json {costs}")).ok().json();
    assert_eq!(found["correlation"]["a"]["spearman"], 1.0);
    assert_eq!(found["reliability"]["b"]["reliability"], 1.0, "the seeds agree in every difference");
    assert_eq!(found["deviation"]["x"]["a"], 1.0);
    let similar = found["methods"].as_array().unwrap().iter().find(|row| row["name"] == "most similar source").unwrap();
    assert_eq!((&similar["change"]["mean"], &similar["target_steps"]), (&15.0.into(), &15.0.into()));
    // 300 + 2 * 15 steps instead of 300 + 2 * 30.
    assert!((similar["search_skipped"].as_f64().unwrap() - 100.0 * 30.0 / 360.0).abs() < 1e-9);
    shell.spot("analyse long.csv --similarity long.csv").exits_with(2).complains("has a column `similarity`");
}

/// Seventeen prompts of T5-base with what each scores on each task (Su et al. 2022); the figures are from NumPy and SciPy.
#[test]
fn real_prompts_tell_which_of_them_help() {
    let folder = Path::new(PROJECT).join("../shared/data/transferability");
    if !folder.exists() {
        return eprintln!("skipped: {} is not there", folder.display());
    }
    let shell = Shell::new();
    let line = format!("analyse {0}/t5-base-zero-shot.csv --prompts {0}/t5-base --format json", folder.display());
    let found = shell.spot(&line).ok().json()["overall"].clone();
    let near = |name: &str, expected: f64, digits: f64| {
        let value = found[name].as_f64().unwrap();
        assert!((value - expected).abs() <= 0.5 * digits, "{name}: {value}, expected {expected}");
    };
    near("mean_spearman", 0.51, 0.01);
    near("regret", 7.6, 0.1);
    near("regret_elsewhere", 29.2, 0.1);
    near("regret_by_chance", 37.8, 0.1);
    assert_eq!((&found["positive"], &found["targets"]), (&17.into(), &17.into()));
}
