//! Results as tables: for terminals, as Markdown, and for Parquet.

use super::choices;
use super::embeddings::Separation;
use super::grid::{Grid, NOTHING};
use super::results::{Comparison, Method, Results};
use super::signed;
use super::spread::Spread;
use crate::data::{Column, Table};

impl Results {
    /// For documents.
    pub fn to_markdown(&self) -> String {
        self.lay_out(Grid::to_markdown, "## ")
    }

    /// For terminals.
    pub fn to_text(&self) -> String {
        self.lay_out(Grid::to_text, "")
    }

    fn lay_out(&self, draw: fn(&Grid) -> String, heading: &str) -> String {
        let mut out = String::new();
        let mut table = |title: &str, grid: &Grid| {
            let blank = if out.is_empty() { "" } else { "\n" };
            out += &format!("{blank}{heading}{title}\n\n{}", draw(grid));
        };
        table(&self.title(), &self.scores());
        if self.methods.len() > 1 {
            table(&format!("What is gained over {}", self.methods[0].name), &gains(&self.methods));
        }
        if !self.controls.is_empty() {
            table("Beside rows of the same budget", &controls(&self.controls));
        }
        if !self.choices.is_empty() {
            table(choices::TITLE, &choices::grid(&self.choices, &self.split));
            out += &format!("\n{}\n", choices::in_words(&self.split));
        }
        let mut table = |title: &str, grid: &Grid| out += &format!("\n{heading}{title}\n\n{}", draw(grid));
        if let Some(matrix) = &self.matrix {
            let grid = matrix.findings.reductions(&matrix.scores);
            table("Which sources helped: relative error reduction in %, source by target", &grid);
        }
        let targets: Vec<String> = self.targets.iter().map(|target| target.task.clone()).collect();
        if let Some(shown) = self.prediction.show(&targets) {
            table("Does similarity foretell transfer? Over all source prompts", &shown.correlations);
            if let Some(rankings) = &shown.rankings {
                table("How good the order by similarity is: regrets in %", rankings);
            }
            let sentences = [shown.summary, self.separation.as_ref().map_or_else(String::new, Separation::to_string)];
            sentences.iter().filter(|text| !text.is_empty()).for_each(|text| out += &format!("\n{text}\n"));
        }
        let notes = self.notices();
        if !notes.is_empty() {
            out += &format!("\n{heading}Caveats\n\n");
            notes.iter().for_each(|note| out += &format!("- {note}\n"));
        }
        out
    }

    fn title(&self) -> String {
        let (split, seeds) = (&self.split, self.seeds);
        if seeds > 1 {
            format!("Scores on the {split} split, mean ± sd over {seeds} seeds")
        } else {
            format!("Scores on the {split} split, of one seed")
        }
    }

    /// What a reader should know before believing a number: of the whole, and of single cells.
    pub(super) fn notices(&self) -> Vec<String> {
        let notes = self.targets.iter().flat_map(|target| {
            let cells = target.cells.iter().zip(&self.methods);
            cells
                .filter_map(|(cell, method)| Some(format!("{}, {}: {}", target.task, method.name, cell.note.as_ref()?)))
        });
        self.warnings.iter().cloned().chain(notes).collect()
    }

    /// A row for each method, a column for each target and suite (the paper's Table 1).
    fn scores(&self) -> Grid {
        let mut header = vec!["method".to_owned()];
        header.extend(self.targets.iter().map(|target| target.task.clone()));
        header.extend(self.suites.iter().map(|suite| suite.name.clone()));
        header.push("mean".to_owned());
        let mut grid = Grid::new(header);
        if self.targets.iter().any(|target| target.majority.is_some()) {
            let cell = |score: Option<f64>| score.map_or_else(String::new, |score| format!("{score:.1}"));
            let mut row = vec!["most common answer".to_owned()];
            row.extend(self.targets.iter().map(|target| cell(target.majority)));
            row.extend(self.suites.iter().map(|_| String::new()));
            row.push(String::new());
            grid.push(row);
        }
        for (at, method) in self.methods.iter().enumerate() {
            let mut row = vec![method.name.clone()];
            row.extend(self.targets.iter().map(|target| target.cells[at].score.to_string()));
            row.extend(self.suites.iter().map(|suite| suite.scores[at].to_string()));
            row.push(method.score.to_string());
            grid.push(row);
        }
        grid
    }

    /// A row for each method and target.
    pub fn scores_table(&self) -> Table {
        let rows = || {
            self.targets.iter().flat_map(|target| target.cells.iter().zip(&self.methods).map(move |row| (target, row)))
        };
        Table::new([
            ("target", Column::Text(rows().map(|(target, _)| target.task.clone()).collect())),
            ("method", Column::Text(rows().map(|(_, (_, method))| method.name.clone()).collect())),
            ("score", Column::Float(rows().map(|(_, (cell, _))| cell.score.mean).collect())),
            ("deviation", Column::OptFloat(rows().map(|(_, (cell, _))| cell.score.deviation).collect())),
            ("seeds", Column::Int(rows().map(|(_, (cell, _))| cell.score.seeds as i64).collect())),
            (
                "relative_error_reduction",
                Column::OptFloat(rows().map(|(_, (cell, _))| cell.relative_error_reduction).collect()),
            ),
            ("illegal", Column::Float(rows().map(|(_, (cell, _))| cell.illegal).collect())),
            ("majority", Column::OptFloat(rows().map(|(target, _)| target.majority).collect())),
            ("from", Column::Texts(rows().map(|(_, (cell, _))| cell.score.from.clone()).collect())),
        ])
        .with("split", &self.split)
    }

    /// A row for each method.
    pub fn methods_table(&self) -> Table {
        let of = |value: fn(&Method) -> Option<f64>| Column::OptFloat(self.methods.iter().map(value).collect());
        Table::new([
            ("method", Column::Text(self.methods.iter().map(|method| method.name.clone()).collect())),
            ("score", of(|method| Some(method.score.mean))),
            ("deviation", of(|method| method.score.deviation)),
            ("change", of(|method| method.change.as_ref().map(|change| change.mean))),
            ("change_deviation", of(|method| method.change.as_ref()?.deviation)),
            ("change_low", of(|method| method.change_interval.map(|[low, _]| low))),
            ("change_high", of(|method| method.change_interval.map(|[_, high]| high))),
            ("relative_error_reduction", of(|m| m.relative_error_reduction.as_ref().map(|reduction| reduction.mean))),
            ("p", of(|method| method.p)),
            ("p_holm", of(|method| method.p_holm)),
            ("tunings", of(|method| method.tunings.map(|tunings| tunings as f64))),
            ("candidates", of(|method| method.candidates.map(|candidates| candidates as f64))),
            ("target_steps", of(|method| method.target_steps)),
            ("source_steps", of(|method| method.source_steps)),
            ("search_skipped", of(|method| method.search_skipped)),
            ("oracle_share", of(|method| method.oracle_share)),
            ("maximum_share", of(|method| method.maximum_share)),
        ])
        .with("split", &self.split)
    }

    /// A row for each source prompt and target.
    pub fn transfers_table(&self) -> Table {
        let text = |of: fn(&super::results::Point) -> &String| {
            Column::Text(self.points.iter().map(|p| of(p).clone()).collect())
        };
        Table::new([
            ("target", text(|point| &point.target)),
            ("source", text(|point| &point.source)),
            ("source_seed", text(|point| &point.source_seed)),
            ("similarity", Column::Float(self.points.iter().map(|point| point.similarity).collect())),
            (
                "relative_error_reduction",
                Column::Float(self.points.iter().map(|point| point.relative_error_reduction).collect()),
            ),
            ("from", Column::Texts(self.points.iter().map(|point| point.from.clone()).collect())),
        ])
        .with("split", &self.split)
    }
}

/// As the paper's Table 3, with how sure each gain is and what it cost.
pub(super) fn gains(methods: &[Method]) -> Grid {
    let header = [
        "method",
        "points",
        "95 %",
        "p",
        "p (Holm)",
        "relative %",
        "of oracle",
        "of maximum",
        "tunings",
        "target steps",
        "source steps",
        "search skipped",
    ];
    let mut grid = Grid::new(header.map(str::to_owned).into());
    for method in methods.iter().skip(1) {
        let share = |share: Option<f64>| share.map_or_else(String::new, |share| format!("{share:.0} %"));
        let gained = |spread: &Option<Spread>| spread.as_ref().map_or_else(|| NOTHING.to_owned(), gained);
        let steps = |steps: Option<f64>| steps.map_or_else(String::new, super::steps);
        grid.push(vec![
            method.name.clone(),
            gained(&method.change),
            interval(method.change_interval),
            super::probability(method.p),
            super::probability(method.p_holm),
            gained(&method.relative_error_reduction),
            share(method.oracle_share),
            share(method.maximum_share),
            method.tunings.map_or_else(String::new, |tunings| tunings.to_string()),
            steps(method.target_steps),
            steps(method.source_steps),
            share(method.search_skipped),
        ]);
    }
    grid.without_empty_columns()
}

pub(super) fn controls(controls: &[Comparison]) -> Grid {
    let header = ["method", "beside", "points", "95 %", "p", "p (Holm)"];
    let mut grid = Grid::new(header.map(str::to_owned).into());
    for Comparison { method, control, difference, interval: reach, p, p_holm } in controls {
        let numbers = [signed(*difference), interval(*reach), super::probability(*p), super::probability(*p_holm)];
        grid.push([method.clone(), control.clone()].into_iter().chain(numbers).collect());
    }
    grid
}

fn interval(interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(String::new, |[low, high]| format!("{} to {}", signed(low), signed(high)))
}

fn gained(spread: &Spread) -> String {
    let deviation = spread.deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.1}"));
    format!("{}{deviation}", signed(spread.mean))
}

#[cfg(test)]
mod tests {
    use crate::report::compare::{Evidence, Strategy};
    use crate::report::evaluation::{Cost, Evaluation};
    use crate::report::page::Dag;
    use crate::report::results::Results;
    use crate::report::study::Study;

    /// A method beside the baseline on one target; nothing is known of sources unless there is a cost.
    fn results(cost: Option<Cost>) -> Results {
        let scores = |scores: [f64; 2]| {
            let evaluation = |(seed, score): (usize, f64)| Evaluation {
                task: "a".to_owned(),
                seed: seed.to_string(),
                score,
                ..Evaluation::default()
            };
            scores.into_iter().enumerate().map(evaluation).collect::<Vec<_>>()
        };
        let other =
            Strategy { name: "other".to_owned(), evaluations: scores([62.0, 60.0]), cost, ..Strategy::default() };
        let strategies = vec![other];
        Evidence { baseline: scores([50.0, 54.0]), strategies, ..Evidence::default() }.results().unwrap()
    }

    fn html(results: Results) -> String {
        let dag = Dag { caption: String::new(), nodes: Vec::new(), edges: Vec::new() };
        let (name, about, records) = (String::new(), Vec::new(), Vec::new());
        let study = Study { name, about, results, linkage: Default::default(), curves: Vec::new(), dag, records };
        study.page().unwrap().to_html()
    }

    #[test]
    fn columns_that_say_nothing_of_any_method_are_left_out_everywhere() {
        let nothing = results(None);
        let headings = |text: &str| text.lines().find(|line| line.contains("points")).unwrap().to_owned();
        assert_eq!(headings(&nothing.to_markdown()), "| method | points | p | p (Holm) | relative % |");
        assert_eq!(
            headings(&nothing.to_text()).split_whitespace().collect::<Vec<_>>().join(" "),
            "method points p p (Holm) relative %"
        );
        let steps = Some(3600.0);
        let cost = Cost {
            tunings: 1,
            candidates: 4,
            target_steps: steps,
            tuning_steps: steps,
            source_steps: steps,
            library_steps: steps,
        };
        let known = results(Some(cost));
        let all =
            "| method | points | p | p (Holm) | relative % | tunings | target steps | source steps | search skipped |";
        assert_eq!(headings(&known.to_markdown()), all);
        assert!(known.to_text().contains("3,600"), "{}", known.to_text());
        let (nothing, known) = (html(nothing), html(known));
        for heading in ["source steps", "tunings", "search skipped"] {
            let heading = format!(">{heading}<");
            assert!(known.contains(&heading) && !nothing.contains(&heading), "{heading}");
        }
    }

    #[test]
    fn a_baseline_alone_gains_nothing() {
        let mut results = results(None);
        results.methods.truncate(1);
        results.targets[0].cells.truncate(1);
        assert!(!results.to_text().contains("gained"), "{}", results.to_text());
    }
}
