//! SQL over tables, by polars.
//!
//! What a query gives is a data set, and equal content must be equal bytes on any machine and with any number of threads. So what would
//! leave that to chance is refused (`order by` with `limit`, whose ties polars breaks as threads finish) or undone: the rows of joins,
//! groups and unions come in no order of their own, and are sorted by their content.

mod answer;
mod frame;

use super::DataError;
use super::table::guarded_as;
use crate::ml::tasks::Columns;
pub use answer::{Answer, Tables, names_in};
pub use frame::Framed;
pub(super) use frame::to_polars;
use polars::error::PolarsError;
use polars::prelude::{DataFrame, IntoLazy, LazyFrame};
use polars::sql::SQLContext;
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, ObjectName, Query as Parsed, Select, SetExpr, Statement, TableFactor, Visit, Visitor,
    WindowType,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserOptions};
use sqlparser::tokenizer::{Token, Tokenizer};
use std::ops::ControlFlow;
use std::panic::resume_unwind;

/// A query that gives the same rows wherever it runs.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    /// Whether it only filters and derives, so that rows keep their order.
    keeps_order: bool,
}

/// Words and signs of the longest query: what plans one goes as deep as it has joins or unions.
const LONGEST: usize = 2000;
/// Terms in terms, such as `a || b || c`, which threads of polars evaluate with a stack of 2 MiB: 500 were too many.
const DEEPEST: usize = 128;
/// Bytes of stack for the planning of the longest query.
const STACK: usize = 1 << 28;

/// The table that a query is over.
pub const ROWS: &str = "rows";

impl Query {
    /// Reads a query over tables with these names.
    ///
    /// # Errors
    /// If it is no query, or one whose rows depend on more than the content of the tables. In words that follow the name of the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let query = parsed(text, &format!("select … from {ROWS}"))?;
        let mut seen = Seen::default();
        if let ControlFlow::Break(why) = query.visit(&mut seen) {
            return Err(why);
        }
        let has_order = seen.queries == 1 && is_alone(&query);
        if let (false, Some(what)) = (has_order, seen.by_order) {
            return Err(format!(
                "has {what}, which depends on the order of rows, and those of joins and queries within queries have none; choose by a value \
                 (`min`, `max`), or prepare the table in a stage of its own"
            ));
        }
        Ok(Self { text: text.to_owned(), keeps_order: has_order && is_plain(&query) })
    }

    /// The columns that the query makes of tables, each by its name.
    ///
    /// # Errors
    /// If it names a table or a column that is not there, asks of values what they are not, or gives what no cell can be.
    pub fn run(&self, tables: &[(&str, Framed)]) -> Result<Columns, DataError> {
        let frames = tables.iter().map(|(name, framed)| (*name, framed.frame.clone()));
        let frame = ask(&self.text, frames).map_err(|error| {
            let known: Vec<String> = tables.iter().map(|(name, framed)| framed.described(name)).collect();
            DataError::Query(format!("{error}; {}", known.join("; ")))
        })?;
        let columns = frame::cells(&frame)?;
        Ok(if self.keeps_order { columns } else { frame::sorted(columns) })
    }
}

/// The answer to a query over frames, each by the name of its table.
///
/// # Errors
/// What polars says of it, on one line.
fn ask<'n>(text: &str, frames: impl Iterator<Item = (&'n str, DataFrame)>) -> Result<DataFrame, String> {
    let mut context = SQLContext::new();
    for (name, frame) in frames {
        context.register(name, frame.lazy());
    }
    // Some expressions of polars panic where others give an error.
    let answer = || context.execute(text).and_then(LazyFrame::collect).map_err(|error| DataError::Query(told(&error)));
    let answer = || guarded_as(DataError::Query, answer).map_err(|error| error.to_string());
    std::thread::scope(|scope| {
        let planned = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, answer);
        let planned = planned.map_err(|error| format!("no thread for it can be started: {error}"))?;
        planned.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// An error of polars, without the plan that follows it.
fn told(error: &PolarsError) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    first.strip_prefix("sql parser error: ").map_or(first.clone(), str::to_owned)
}

/// The one query that a text is.
fn parsed(text: &str, expected: &str) -> Result<Box<Parsed>, String> {
    let no_sql = |error: String| format!("is no SQL: {}", error.trim_start_matches("sql parser error: "));
    let tokens =
        Tokenizer::new(&GenericDialect, text).tokenize_with_location().map_err(|error| no_sql(error.to_string()))?;
    let length = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count();
    if length > LONGEST {
        return Err(format!(
            "has {length} words and signs, of which a query may have {LONGEST}; put long lists of values into a table and join it"
        ));
    }
    let options = ParserOptions { trailing_commas: true, ..ParserOptions::default() };
    let mut parser = Parser::new(&GenericDialect).with_options(options).with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements().map_err(|error| no_sql(error.to_string()))?;
    match (statements.pop(), statements.len()) {
        (Some(Statement::Query(query)), 0) => match query.visit(&mut Depth(0)) {
            ControlFlow::Continue(()) => Ok(query),
            ControlFlow::Break(()) => Err(format!(
                "has more than {DEEPEST} terms in each other; for many `or` take `in (…)`, or put the values into a table and join it"
            )),
        },
        (None, _) => Err(format!("is empty, expected `{expected}`")),
        (Some(_), 0) => Err(format!("does something else than to ask, expected `{expected}`")),
        (Some(_), more) => Err(format!("has {} statements, expected one", more + 1)),
    }
}

/// How deep terms are in terms.
struct Depth(usize);

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.0 += 1;
        if self.0 > DEEPEST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.0 -= 1;
        ControlFlow::Continue(())
    }
}

/// The queries within a query, each of which must leave nothing to chance.
#[derive(Default)]
struct Seen {
    queries: usize,
    /// Something that depends on the order of rows.
    by_order: Option<String>,
}

/// Functions whose values depend on the order of rows.
const BY_ORDER: [&str; 11] = [
    "first",
    "last",
    "first_value",
    "last_value",
    "nth_value",
    "lag",
    "lead",
    "row_number",
    "array_agg",
    "string_agg",
    "listagg",
];

impl Visitor for Seen {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Parsed) -> ControlFlow<String> {
        self.queries += 1;
        if let SetExpr::Select(select) = &*query.body
            && matches!(select.distinct, Some(Distinct::On(_)))
        {
            self.by_order = Some("`distinct on`".to_owned());
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            return ControlFlow::Break(
                "has a limit, and which rows are within it may differ from run to run; choose them by `where`, or draw them by the stage's \
                 `rows`"
                    .to_owned(),
            );
        }
        if query.order_by.is_some() {
            return ControlFlow::Break(
                "has `order by`, but a data set has no order: training shuffles it by its seed; leave it out"
                    .to_owned(),
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        if let Expr::Function(function) = expr {
            let name = function.name.to_string().to_lowercase();
            let orders = matches!(&function.over, Some(WindowType::WindowSpec(window)) if !window.order_by.is_empty());
            if orders && BY_ORDER.contains(&name.as_str()) {
                // Which of two equal rows comes first is left to threads.
                return ControlFlow::Break(format!(
                    "has `{name}` over an order, in which rows may be equal; choose by `rank`, or by `min` or `max` of a value"
                ));
            }
            if orders || BY_ORDER.contains(&name.as_str()) {
                self.by_order = Some(format!("`{name}`"));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<String> {
        match table {
            TableFactor::Table { args: Some(_), name, .. } | TableFactor::Function { name, .. } => {
                ControlFlow::Break(format!(
                    "has `{name}(…)` for a table, which may read anything; name the file under `tables`, so that it is an input of the stage"
                ))
            }
            TableFactor::Table { sample: Some(_), .. } => {
                ControlFlow::Break("draws a sample; the stage's `rows` does that, by its seed".to_owned())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a query is over the rows of one table, which have an order.
fn is_alone(query: &Parsed) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    query.with.is_none() && matches!(&select.from[..], [table] if table.joins.is_empty() && is_named(&table.relation))
}

/// Whether a query over one table gives its rows in their order.
fn is_plain(query: &Parsed) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    let Select { distinct, group_by, having, .. } = &**select;
    let is_ungrouped = matches!(group_by, GroupByExpr::Expressions(by, _) if by.is_empty()) && having.is_none();
    is_ungrouped && matches!(distinct, None | Some(Distinct::All))
}

fn is_named(table: &TableFactor) -> bool {
    let TableFactor::Table { name: ObjectName(parts), .. } = table else { return false };
    parts.len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks::{Cell, Decimal, Whole};

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn number(text: &str) -> Cell {
        Cell::Number(Decimal::parse(text).unwrap())
    }

    fn framed(columns: Columns) -> Framed {
        Framed::of(Whole { columns, odd: vec![("day".to_owned(), "is Date32".to_owned())] }).unwrap()
    }

    fn rows() -> Framed {
        let texts = |texts: [&str; 4]| texts.map(text).to_vec();
        let options = |options: &[&str]| Cell::List(options.iter().map(|option| text(option)).collect());
        framed(vec![
            ("author".to_owned(), texts(["b", "a", "c", "a"])),
            ("text".to_owned(), vec![text("one"), text("two"), Cell::Missing, text("four")]),
            ("votes".to_owned(), ["3", "-1", "9007199254740993", "0"].map(number).to_vec()),
            ("share".to_owned(), vec![number("0.1"), number("2.50"), Cell::Missing, number("7")]),
            ("ok".to_owned(), vec![Cell::Bool(true), Cell::Missing, Cell::Bool(false), Cell::Bool(true)]),
            ("options".to_owned(), vec![options(&["x", "y"]), options(&[]), Cell::Missing, options(&["z"])]),
            ("huge".to_owned(), ["1", "2", "3", "12345678901234567890"].map(number).to_vec()),
            ("mixed".to_owned(), vec![text("x"), number("1"), Cell::Missing, Cell::Missing]),
        ])
    }

    fn authors() -> Framed {
        framed(vec![
            ("author".to_owned(), ["a", "b"].map(text).to_vec()),
            ("name".to_owned(), ["Ann", "Bob"].map(text).to_vec()),
        ])
    }

    #[track_caller]
    fn answer(query: &str) -> Columns {
        Query::parse(query).unwrap().run(&[(ROWS, rows()), ("authors", authors())]).unwrap()
    }

    #[track_caller]
    fn refused(query: &str, said: &str) {
        let error = match Query::parse(query) {
            Err(error) => error,
            Ok(query) => query.run(&[(ROWS, rows()), ("authors", authors())]).unwrap_err().to_string(),
        };
        assert!(error.contains(said), "{error}");
    }

    #[test]
    fn cells_come_back_as_they_went_in() {
        let columns = answer("select author, text, votes, share, ok, options from rows");
        let texts = |texts: [&str; 4]| texts.map(text).to_vec();
        assert_eq!(columns[0], ("author".to_owned(), texts(["b", "a", "c", "a"])));
        assert_eq!(columns[1].1[2], Cell::Missing);
        // Beyond what floats hold exactly.
        assert_eq!(columns[2].1, ["3", "-1", "9007199254740993", "0"].map(number));
        assert_eq!(columns[3].1, [number("0.1"), number("2.5"), Cell::Missing, number("7")]);
        assert_eq!(columns[4].1, [Cell::Bool(true), Cell::Missing, Cell::Bool(false), Cell::Bool(true)]);
        assert_eq!(columns[5].1[..2], [Cell::List(vec![text("x"), text("y")]), Cell::List(Vec::new())]);
    }

    #[test]
    fn objects_are_asked_for_their_parts() {
        let object = |at: &str, gap: Cell| Cell::Object(vec![("at".to_owned(), number(at)), ("of".to_owned(), gap)]);
        let spans = || {
            framed(vec![(
                "span".to_owned(),
                vec![object("1", Cell::List(vec![text("p")])), object("2", Cell::Missing)],
            )])
        };
        let query = |text: &str| Query::parse(text).unwrap().run(&[(ROWS, spans())]).unwrap();
        assert_eq!(query("select span.at as at from rows")[0].1, ["1", "2"].map(number));
        assert_eq!(
            query("select span from rows")[0].1,
            [object("1", Cell::List(vec![text("p")])), object("2", Cell::Missing)]
        );
    }

    #[test]
    fn filters_and_new_columns_keep_the_order() {
        let columns = answer("select upper(author) as who, votes * 2 as double from rows where votes < 100");
        assert_eq!(columns[0], ("who".to_owned(), ["B", "A", "A"].map(text).to_vec()));
        assert_eq!(columns[1].1, ["6", "-2", "0"].map(number));
    }

    #[test]
    fn joins_and_groups_come_sorted_by_content() {
        let columns = answer("select name, text from rows join authors using (author)");
        assert_eq!(columns[0].1, ["Ann", "Ann", "Bob"].map(text));
        assert_eq!(columns[1].1, ["four", "two", "one"].map(text));
        let columns = answer("select count(*) as n, author from rows group by author");
        assert_eq!(columns[1].1, ["b", "c", "a"].map(text));
        assert_eq!(columns[0].1, ["1", "1", "2"].map(number));
    }

    #[test]
    fn what_would_be_chance_is_refused() {
        refused("select * from rows limit 2", "has a limit");
        refused("select * from (select * from rows fetch first 2 rows only) as r", "has a limit");
        refused("select * from rows order by votes", "has `order by`");
        refused("select * from rows where author in (select author from authors limit 1)", "has a limit");
        refused("select * from read_csv('/etc/passwd')", "which may read anything");
        refused("select first(text) as t, name from rows join authors using (author) group by name", "has `first`");
        refused("select x.text from (select text, row_number() as n from rows) as x", "has `row_number`");
        refused("select text, row_number() over (order by votes) as n from rows", "has `row_number` over an order");
        refused("select distinct on (name) name, text from rows join authors using (author)", "has `distinct on`");
        assert_eq!(answer("select first(text) as t, author from rows group by author")[1].1.len(), 3);
        refused("drop table rows", "does something else than to ask");
        refused("select 1; select 2", "has 2 statements");
        refused(" ", "is empty");
        refused("selekt author from rows", "is no SQL: ");
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        refused("select * from row", "`rows` has `author` (text), `text` (text), `votes` (whole numbers)");
        refused("select autor from rows", "unable to find column \"autor\"");
        refused("select huge from rows", "of `huge` no query can be made: it has 12345678901234567890");
        refused("select mixed from rows", "of `mixed` no query can be made: it has text beside whole numbers");
        refused("select author + 1 as x from rows", "author");
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!("select {}1{} from rows", "(".repeat(500), ")".repeat(500));
        refused(&deep, "is no SQL: recursion limit exceeded");
    }

    #[test]
    fn terms_in_each_other_are_counted() {
        for (start, more, end) in [
            ("select text from rows where votes", " + votes", " > 0"),
            ("select text from rows where ok", " and ok", ""),
            ("select text", " || text", " as text from rows"),
            ("select votes", "::bigint", " as n from rows"),
            ("select text from rows where text is not null", " is not null", ""),
        ] {
            let query = |times: usize| format!("{start}{}{end}", more.repeat(times));
            // Comparisons and casts are terms too.
            answer(&query(DEEPEST - 3));
            refused(&query(DEEPEST + 1), "has more than 128 terms in each other");
            refused(&query(100_000), "words and signs, of which a query may have 2000");
        }
    }

    #[test]
    fn tables_that_follow_each_other_are_planned_up_to_the_longest_query() {
        let all = |times: usize| format!("select text from rows{}", " union all select text from rows".repeat(times));
        assert_eq!(answer(&all(LONGEST / 6 - 1))[0].1.len(), 4 * (LONGEST / 6));
        refused(&all(LONGEST / 6 + 1), "words and signs, of which a query may have 2000");
        let other = |at: usize| format!(" join (select author as a{at} from authors) as r{at} on author = a{at}");
        let joined = |times: usize| format!("select text from rows{}", (0..times).map(other).collect::<String>());
        assert_eq!(answer(&joined(100))[0].1.len(), 3);
        refused(&joined(200), "words and signs, of which a query may have 2000");
        let next = |at: usize| format!(", c{} as (select text from c{at})", at + 1);
        let steps = |times: usize| {
            format!(
                "with c0 as (select text from rows){} select text from c{times}",
                (0..times).map(next).collect::<String>()
            )
        };
        assert_eq!(answer(&steps(200))[0].1.len(), 4);
    }
}
