//! The result pages in a browser.

use super::browser::Browser;
use super::shell::{PROJECT, Shell};
use serde_json::{Value, json};
use spot::ml::prompt::clustering::Linkage;
use spot::report::page::{Curve, CurvePanel, Curves, Dag, Node, NodeState, Record, RecordInput};
use spot::report::results::Results;
use spot::report::study::Study;
use std::path::Path;

/// What holds for every result page; `cell` is a number that can be opened, with a second one to its right.
fn check_page(browser: &mut Browser, sections: &[&str], cell: &str) {
    for section in sections {
        browser.assert(&format!("document.getElementById({section:?}).getBoundingClientRect().height > 40"));
        browser.assert(&format!("document.querySelector('nav a[href=\"#{section}\"]') !== null"));
    }
    browser.assert("document.documentElement.lang === 'en' && document.title.length > 0");
    browser.assert("performance.getEntriesByType('resource').length === 0");
    browser.assert("[...document.querySelectorAll('svg')].every((s) => !/NaN|inf/.test(s.outerHTML))");
    check_provenance(browser, cell);
    check_themes(browser);
    check_width(browser);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// A click and a key open what stands behind a number; Escape closes it and gives the focus back.
fn check_provenance(browser: &mut Browser, cell: &str) {
    let dialog = "document.getElementById('provenance')";
    browser.click(cell);
    browser.assert(&format!("{dialog}.open"));
    browser.assert(&format!("{dialog}.querySelectorAll('.record h3').length > 0"));
    browser.assert(&format!("/[0-9a-f]{{64}}/.test({dialog}.textContent)"));
    // A click at its edge is none beside it.
    browser.value(&format!(
        "(() => {{ const b = {dialog}.getBoundingClientRect(); {dialog}.dispatchEvent(new MouseEvent('click', {{bubbles: true, \
         clientX: b.left + 3, clientY: b.top + 3}})); }})()"
    ));
    browser.assert(&format!("{dialog}.open"));
    browser.key("Escape");
    browser.assert(&format!("!{dialog}.open"));
    browser.assert(&format!("document.activeElement === document.querySelector({cell:?})"));
    browser.key("ArrowRight");
    browser.assert(&format!("document.activeElement !== document.querySelector({cell:?})"));
    // Down and up again in one column.
    let title = browser.value("document.activeElement.dataset.title");
    let column = browser.value("document.activeElement.closest('td').cellIndex");
    browser.key("ArrowDown");
    assert_ne!(browser.value("document.activeElement.dataset.title"), title);
    assert_eq!(browser.value("document.activeElement.closest('td').cellIndex"), column);
    browser.key("ArrowUp");
    assert_eq!(browser.value("document.activeElement.dataset.title"), title);
    browser.key("Enter");
    browser.assert(&format!("{dialog}.open"));
    assert_eq!(browser.value("document.getElementById('provenance-title').textContent"), title);
    browser.click("#provenance-close");
    browser.assert(&format!("!{dialog}.open"));
    assert_eq!(browser.value("document.activeElement.dataset.title"), title);
}

/// The page follows the system until its own switch says otherwise.
fn check_themes(browser: &mut Browser) {
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(ground);
    browser.prefer("dark");
    let dark = browser.value(ground);
    assert_ne!(light, dark);
    browser.click("#theme");
    assert_eq!(browser.value(ground), light);
    browser.click("#theme");
    browser.prefer("light");
    assert_eq!(browser.value(ground), dark);
    browser.click("#theme");
    assert_eq!(browser.value(ground), light);
}

/// Wide figures scroll in their own frames; the page never does.
fn check_width(browser: &mut Browser) {
    for width in [360, 800, 1400] {
        browser.resize(width, 800);
        let found = browser.value("document.documentElement.scrollWidth");
        assert!(found.as_u64().unwrap() <= u64::from(width), "{found} at a width of {width}");
    }
}

/// A similarity for every pair of the published matrix, from no more than their places.
fn similarities(matrix: &str) -> String {
    let mut lines = matrix.lines();
    let header = lines.next().unwrap();
    let n_targets = header.split(',').count() - 1;
    let row = |(at, line): (usize, &str)| {
        let cells = (0..n_targets).map(|target| format!("{:.4}", 0.02 + ((at * 7 + target * 3) % 11) as f64 / 1000.0));
        format!("{},{}\n", line.split(',').next().unwrap(), cells.collect::<Vec<_>>().join(","))
    };
    let rows: String = lines.filter(|line| !line.starts_with("BASELINE")).enumerate().map(row).collect();
    format!("{header}\n{rows}")
}

#[test]
fn the_page_of_a_matrix_works_in_a_browser() {
    let matrix = std::fs::read_to_string(Path::new(PROJECT).join("tests/golden/spot_table6.csv")).unwrap();
    let shell = Shell::new().write("table6.csv", &matrix).write("s.csv", similarities(&matrix));
    shell.spot("analyse table6.csv --similarity s.csv --format html --output x.html").ok();
    let Some(mut browser) = Browser::open(&shell.path("x.html")) else { return };
    let sections = ["transfer", "sources-ranked", "scores", "similarity", "prediction", "sources"];
    check_page(&mut browser, &sections, "#transfer .heat tbody button");

    browser.resize(1400, 900);
    // The best source is on top, and its first number is that of the paper's table 7.
    let first = browser.value("document.querySelector('#transfer .heat tbody tr').textContent");
    assert!(first.as_str().unwrap().starts_with("MNLI+17.0"), "{first}");
    // Every dendrogram covers exactly the rows or columns that it joins.
    browser.assert(
        "(() => { const t = document.querySelector('#similarity .heat'); \
         const rows = [...t.tBodies[0].rows].filter((r) => r.querySelector('button')); \
         const tree = t.querySelector('td.tree svg').getBoundingClientRect(); \
         const first = rows[0].getBoundingClientRect(), last = rows[rows.length - 1].getBoundingClientRect(); \
         return Math.abs(tree.top - first.top) < 2 && Math.abs(tree.bottom - last.bottom) < 2; })()",
    );
    browser.assert(
        "(() => { const t = document.querySelector('#similarity .heat'); \
         const cells = t.tBodies[0].rows[0].querySelectorAll('td:not(.tree)'); \
         const tree = t.querySelector('tr.tree svg').getBoundingClientRect(); \
         const first = cells[0].getBoundingClientRect(), last = cells[cells.length - 1].getBoundingClientRect(); \
         return Math.abs(tree.left - first.left) < 2 && Math.abs(tree.right - last.right) < 2; })()",
    );
    // A point says what it is when it has the focus, and opens like a number.
    browser.value("document.querySelector('#prediction circle').focus()");
    browser
        .assert("!document.getElementById('tip').hidden && document.getElementById('tip').textContent.includes('→')");
    browser.key("Enter");
    browser.assert("document.querySelectorAll('#provenance .record').length === 2");
    browser.key("Escape");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_report_goes_to_a_file_as_it_would_to_standard_output() {
    let shell = Shell::finished();
    let printed = shell.spot("report smoke").ok().out;
    assert_eq!(shell.spot("report smoke --output r.md").ok().out, "");
    assert_eq!(shell.read("r.md"), printed);
}

/// What the program itself made, from the run to the page.
#[test]
fn the_page_of_a_run_leads_from_numbers_to_jobs_and_files() {
    let manifest = std::fs::read(Path::new(PROJECT).join("pipelines/smoke.yaml")).unwrap();
    let shell = Shell::new().write("pipelines/smoke.yaml", manifest);
    shell.spot("run smoke").ok();
    shell.spot("report smoke --format html --output x.html").ok();
    let html = shell.read("x.html");
    assert!(!html.contains("<link") && !html.contains("src="), "it needs nothing else");
    let Some(mut browser) = Browser::open(&shell.path("x.html")) else { return };
    let sections =
        ["methods", "suites", "targets", "transfer", "similarity", "prediction", "curves", "pipeline", "sources"];
    check_page(&mut browser, &sections, "#targets .heat tbody button");
    browser.resize(1400, 900);
    browser.click("#targets .heat tbody button");
    let heading = "document.querySelector('#provenance .record h3').textContent";
    assert_eq!(browser.value(heading), "target_scores[w_animal,0].scores");
    browser.assert("document.getElementById('provenance').textContent.includes('target[w_animal,0].prompt')");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn names_with_markup_run_nothing_in_a_browser() {
    let evil = "<img src=x onerror=document.title='hit'><script>document.title='hit'</script>";
    let matrix = format!("source,{evil},b\nBASELINE,50,60\n{evil},60,55\ny,70,60\n</script>,80,90\n");
    let shell = Shell::new().write("m.csv", matrix);
    shell.spot("analyse m.csv --format html --output x.html").ok();
    let Some(mut browser) = Browser::open(&shell.path("x.html")) else { return };
    browser.click("#transfer .heat tbody button");
    browser.assert("document.getElementById('provenance').open");
    browser.assert("document.title !== 'hit' && document.images.length === 0");
    let names = browser.value("[...document.querySelectorAll('#transfer .heat tbody th')].map((th) => th.title)");
    assert!(names.as_array().unwrap().contains(&Value::from(evil)), "{names}");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// A digest for tests.
fn digest(of: &str) -> String {
    spot::engine::store::digest::Digest::of(of.as_bytes()).to_string()
}

/// Results of a small study, as the report stage writes them.
fn results() -> Results {
    let spread = |mean: f64| json!({"mean": mean, "deviation": 0.5, "seeds": 3, "from": [digest("scores")]});
    let cell = |mean: f64, reduction: Option<f64>| json!({"score": spread(mean), "relative_error_reduction": reduction, "illegal": 0.0});
    let mut odd = cell(50.0, Some(-2.0));
    odd["note"] = json!("one answer to everything");
    let method = |name: &str, change: Option<f64>| {
        json!({
            "name": name,
            "score": spread(60.0 + change.unwrap_or(0.0)),
            "change": change.map(spread),
            "change_interval": change.map(|change| [change - 1.0, change + 1.0]),
            "relative_error_reduction": change.map(|change| spread(4.0 * change)),
            "role": if change.is_some() { "method" } else { "baseline" },
            "p": change.map(|_| 0.25), "p_holm": change.map(|_| 0.5),
            "tunings": 3, "candidates": 9, "target_steps": 300.0, "source_steps": 1800.0,
            "oracle_share": change.map(|_| 64.0), "maximum_share": change.map(|_| 48.0), "search_skipped": 66.7,
        })
    };
    let scores = json!({
        "targets": ["rte", "cb"],
        "baseline": [spread(60.0), spread(70.0)],
        "sources": [
            {"name": "mnli", "scores": [spread(70.0), spread(85.0)]},
            {"name": "qqp", "scores": [spread(62.0), spread(70.0)]},
            {"name": "sst2", "scores": [spread(50.0), spread(40.0)]},
        ],
    });
    let findings = json!({
        "baseline_mean": 65.0, "best_per_target_mean": 77.5,
        "source_mean": {"mnli": 77.5, "qqp": 66.0, "sst2": 45.0},
        "relative_error_reduction":
            {"mnli": {"rte": 25.0, "cb": 50.0}, "qqp": {"rte": 5.0, "cb": 0.0}, "sst2": {"rte": -25.0, "cb": -100.0}},
        "helping": 3, "hurting": 2, "tied": 1,
    });
    let points = [("mnli", 0.9, 25.0), ("qqp", 0.5, 5.0), ("sst2", 0.2, -25.0)].map(|(source, similarity, gain)| {
        json!({"target": "rte", "source": source, "source_seed": "0", "similarity": similarity,
            "relative_error_reduction": gain, "from": [digest("scores")]})
    });
    let results = json!({
        "version": 3,
        "split": "test",
        "seeds": 3,
        "controls": [{"method": "best of top 3", "control": "average", "difference": 6.0, "interval": [2.0, 10.0], "p": 0.5, "p_holm": 0.5}],
        "methods": [method("prompt tuning", None), method("best of top 3", Some(5.0)), method("average", Some(-1.0))],
        "targets": [
            {"task": "rte", "majority": 52.7, "cells": [cell(60.0, None), cell(66.0, Some(15.0)), odd]},
            {"task": "<b>cb</b>", "majority": null, "cells": [cell(70.0, None), cell(72.0, Some(6.7)), cell(71.0, None)]},
        ],
        "suites": [{"name": "SuperGLUE", "targets": ["rte", "cb"], "scores": [spread(65.0), spread(69.0), spread(61.0)]}],
        "matrix": {"scores": scores, "findings": findings},
        "similarity": {
            "metric": "per_token", "tasks": ["rte", "mnli", "qqp"],
            "values": [[0.04, 0.03, 0.02], [0.03, 0.04, 0.025], [0.02, 0.025, 0.04]],
            "from": [[digest("embedding")], [digest("embedding")], ["00"]],
        },
        "points": points,
        "separation": {
            "same_task": 0.3, "same_seed": 0.02, "neither": 0.01, "told_apart": 0.97,
            "own_seed_first": 1, "rankings": 3, "own_seed_by_chance": 1.0,
        },
        "prediction": {
            "reliability": {"rte": {"reliability": 0.64, "ceiling": 0.8}},
            "correlation": {"rte": {
                "pearson": 0.9, "pearson_p": 0.01, "spearman": 1.0, "spearman_p": 0.0, "sources": 3, "prompts": 3,
            }},
            "retrieval": [{
                "target": "rte", "ndcg": 0.98, "ndcg_by_chance": 0.7, "regret_elsewhere": 2.5,
                "regret": {"1": {"of_best": 0.5, "of_best_by_chance": 6.5, "of_span": 8.0, "of_span_by_chance": 100.0}},
            }],
        },
        "warnings": ["selected and reported on one split"],
    });
    serde_json::from_value(results).unwrap()
}

fn study() -> Study {
    let record = |name: &str, from: Option<&str>| Record {
        digest: digest(name),
        name: format!("job.{name}"),
        kind: "evaluate v1".to_owned(),
        key: Some(digest("key")),
        took: Some("1.5 s".to_owned()),
        inputs: from
            .map(|from| RecordInput { role: "prompt".into(), what: from.into(), digest: Some(digest(from)) })
            .into_iter()
            .collect(),
        ..Record::default()
    };
    let line = |seed: usize| Curve {
        name: format!("target[rte,{seed}]"),
        group: seed % 2,
        points: (0..20).map(|step| (f64::from(step) * 100.0, 50.0 + f64::from(step))).collect(),
        from: vec![digest("scores")],
    };
    let node = |name: &str, states: &[(NodeState, usize)]| Node {
        name: name.to_owned(),
        kind: "tune".to_owned(),
        states: states.to_vec(),
        took: "3 min 02 s".to_owned(),
    };
    Study {
        name: "study".to_owned(),
        about: vec![("profile".to_owned(), "small".to_owned())],
        results: results(),
        linkage: Linkage::Average,
        curves: vec![Curves {
            caption: "Scores".to_owned(),
            x: "step".to_owned(),
            y: "score".to_owned(),
            groups: vec!["source".to_owned(), "target".to_owned()],
            panels: vec![CurvePanel { title: "rte".to_owned(), lines: (0..3).map(line).collect() }],
        }],
        dag: Dag {
            caption: "Stages".to_owned(),
            nodes: vec![
                node("backbone", &[(NodeState::Cached, 1)]),
                node("source", &[(NodeState::Cached, 3), (NodeState::Interrupted, 1)]),
                node("report", &[(NodeState::Blocked, 1)]),
            ],
            edges: vec![(0, 1), (1, 2), (0, 2)],
        },
        records: vec![record("scores", Some("embedding")), record("embedding", None)],
    }
}

#[test]
fn the_page_of_a_study_works_in_a_browser() {
    let shell = Shell::new().write("x.html", study().page().unwrap().to_html());
    let Some(mut browser) = Browser::open(&shell.path("x.html")) else { return };
    let sections = [
        "methods",
        "suites",
        "targets",
        "transfer",
        "similarity",
        "prediction",
        "retrieval",
        "curves",
        "pipeline",
        "sources",
    ];
    check_page(&mut browser, &sections, "#targets .heat tbody button");

    browser.resize(1400, 900);
    // From a number to what made it, to what that was made from, and back.
    browser.click("#methods table.plain tbody button");
    let heading = "document.querySelector('#provenance .record h3').textContent";
    assert_eq!(browser.value(heading), "job.scores");
    browser.click("#provenance .record li button");
    assert_eq!(browser.value(heading), "job.embedding");
    browser.assert("document.activeElement.id === 'provenance-close'");
    browser.click("#provenance-records > button");
    assert_eq!(browser.value(heading), "job.scores");
    browser.key("Escape");
    // A digest of which the page has no record is not passed over.
    browser.value(
        "[...document.querySelectorAll('#similarity td button')].find((b) => b.dataset.from.includes('?')).click()",
    );
    browser
        .assert("document.getElementById('provenance').textContent.includes('Nothing in the store has this digest')");
    browser.key("Escape");
    // What is odd about a cell is told at the top, and states have words.
    browser.assert("document.querySelector('.notices').textContent.includes('rte, average: one answer to everything')");
    browser.assert("/1 blocked/.test(document.querySelector('.dag').textContent)");
    // A curve opens like a number.
    browser.value("document.querySelector('#curves g.curve').focus()");
    browser.key("ArrowRight");
    browser.assert("document.getElementById('tip').textContent.includes('target[rte,1]')");
    browser.key("Enter");
    browser.assert("document.getElementById('provenance').open");
    assert_eq!(browser.complaints, Vec::<String>::new());
}
