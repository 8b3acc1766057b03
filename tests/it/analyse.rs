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
        ("source,a,b\nx,1,1\ny,1,1\n", "d.csv: no row `BASELINE`"),
        ("source,a\nBASELINE,1\nx,1\ny,1\n", "d.csv: no column `b`"),
        ("source,a,b\nBASELINE,1,1\nx,-1,1\n", "d.csv: line 3, column `a`: `-1`, expected a number from 0 to 100"),
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
        ("source,a\nx,1\n", "no row `BASELINE`"),
        ("source,a\nBASELINE,1\n", "no row of a source"),
        ("source,a\nBASELINE,1\nx,NaN\n", "line 3, column `a`: `NaN`, expected a number from 0 to 100"),
        ("source,a\nBASELINE,1\nx,101\n", "`101`"),
        ("source,a\nBASELINE,1\nx,\n", "line 3, column `a`: ``"),
        ("source,a,b\nBASELINE,1,2\nx,1\n", "2 fields"),
        ("source,a,a\nBASELINE,1,2\n", "two columns `a`"),
        ("source,a\nBASELINE,1\nx,1\nx,2\n", "two rows `x`"),
        ("source\nBASELINE\n", "one column"),
        ("", "one column"),
    ] {
        Shell::new().write("m.csv", text).spot("analyse m.csv").exits_with(2).complains("m.csv").complains(complaint);
    }
    let shell = Shell::new().write("m.csv", "source,a\nBASELINE,1\nx,2\n").write("s.csv", "source,a\ny,0.5\n");
    shell.spot("analyse m.csv --similarity s.csv").exits_with(2).complains("s.csv: no row `x`");
    shell.spot("analyse nothing.csv").exits_with(2).complains("nothing.csv");
}
