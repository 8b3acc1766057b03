//! The result pages in a browser.

use super::browser::Browser;
use super::shell::{PROJECT, Shell};
use serde_json::Value;
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
    browser.key("Escape");
    browser.assert(&format!("!{dialog}.open"));
    browser.assert(&format!("document.activeElement === document.querySelector({cell:?})"));
    browser.key("ArrowRight");
    browser.assert(&format!("document.activeElement !== document.querySelector({cell:?})"));
    let title = browser.value("document.activeElement.dataset.title");
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
