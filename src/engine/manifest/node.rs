//! YAML with places: what a manifest says, and where.

use super::problem::{Place, Problem, clipped};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// A value of a manifest and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What stands there.
    pub value: Value,
    /// Where.
    pub place: Place,
    /// Whether a variable of the manifest or the environment supplied (part of) it.
    pub from_variable: bool,
    /// Where it was asked for, if that is elsewhere: the place of a `${…}` or of a `like`.
    pub used: Option<Place>,
    /// How a truth value is written, if not as `true` or `false`, and a whole number of more than 64 bits: as a word it is that.
    written: Option<Arc<str>>,
}

/// What can stand in a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where.
    pub place: Place,
}

/// Size of one manifest after aliases are replaced, in values; more is a mistake or an attack.
pub(super) const LARGEST: usize = 200_000;
/// Nesting of values, aliases replaced.
pub(super) const DEEPEST: usize = 64;
/// Keys of one mapping.
const MOST_KEYS: usize = 10_000;

impl Node {
    /// A value at a place.
    pub fn new(value: Value, place: Place) -> Self {
        Self { value, place, from_variable: false, used: None, written: None }
    }

    /// The same place with another value, which variables may have supplied.
    pub(super) fn with(&self, value: Value, from_variable: bool) -> Self {
        let written = self.written.clone().filter(|_| value == self.value);
        Self { value, place: self.place, from_variable, used: self.used, written }
    }

    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// Keys and values; none if this is not a mapping.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, if this is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value at a path such as `init.prompts[1]`; the deepest value that exists.
    pub fn at(&self, path: &str) -> &Node {
        let mut node = self;
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let next = match &node.value {
                Value::List(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => node.get(part),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// What kind of value this is, in words.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(x) => format!("`{}`", self.written.as_deref().unwrap_or(if *x { "true" } else { "false" })),
            Value::Int(x) => format!("the number {x}"),
            // A whole number that small was written with a point or an exponent, without which it would do.
            Value::Float(x) if x.fract() == 0.0 && x.abs() < i64::MAX as f64 => format!("the number {x:.1}"),
            Value::Float(x) => format!("the number {x}"),
            Value::Text(x) => format!("the text `{}`", clipped(x)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The scalar as it reads inside a text; `None` for lists and mappings.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Null => Some(String::new()),
            Value::Bool(x) => Some(x.to_string()),
            Value::Int(x) => Some(x.to_string()),
            Value::Float(x) => Some(x.to_string()),
            Value::Text(x) => Some(x.clone()),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The value at the end of a chain of keys, for changing it; `None` if there is none.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|(name, _)| name.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Makes words of the values here whose words would be others: `True` is `True` where a word is asked for.
    pub fn spell_words(&mut self) {
        if let Some(word) = self.written.take() {
            self.value = Value::Text(word.to_string());
        }
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(Node::spell_words),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.spell_words()),
            _ => {}
        }
    }

    /// The same values at one place: what a name stands for, where the name is.
    pub fn at_place(mut self, place: Place) -> Self {
        self.place = place;
        match &mut self.value {
            Value::List(items) => {
                *items = std::mem::take(items).into_iter().map(|item| item.at_place(place)).collect();
            }
            Value::Map(entries) => {
                let moved = |(key, node): (Key, Node)| (Key { place, ..key }, node.at_place(place));
                *entries = std::mem::take(entries).into_iter().map(moved).collect();
            }
            _ => {}
        }
        self
    }

    /// Marks everything here as supplied by a variable.
    pub(super) fn mark_from_variable(&mut self) {
        self.from_variable = true;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(Node::mark_from_variable),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.mark_from_variable()),
            _ => {}
        }
    }

    /// Marks everything here as used at a place.
    pub(super) fn mark_used(&mut self, at: Place) {
        self.used = Some(at);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.mark_used(at)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.mark_used(at)),
            _ => {}
        }
    }

    /// How much memory this takes, in values: long texts count for several.
    pub(super) fn weight(&self) -> usize {
        let inner = match &self.value {
            Value::Text(text) => text.len() / TEXT_PER_VALUE,
            Value::List(items) => items.iter().map(Node::weight).sum(),
            Value::Map(entries) => {
                entries.iter().map(|(key, node)| key.text.len() / TEXT_PER_VALUE + node.weight()).sum()
            }
            _ => 0,
        };
        1 + inner
    }

    /// Levels of nesting below this.
    fn height(&self) -> usize {
        let below = match &self.value {
            Value::List(items) => items.iter().map(Node::height).max(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.height()).max(),
            _ => None,
        };
        below.map_or(0, |below| below + 1)
    }
}

/// Bytes of text that count as one more value in a [`Node::weight`].
const TEXT_PER_VALUE: usize = 64;

/// Lays `over` on `base`: mappings are merged key by key, a key set to null is removed, everything else is replaced.
pub fn overlay(base: &mut Node, over: &Node) {
    let (Value::Map(entries), Value::Map(news)) = (&mut base.value, &over.value) else {
        *base = over.clone();
        return;
    };
    for (key, node) in news {
        match entries.iter().position(|(name, _)| name.text == key.text) {
            Some(at) if node.value == Value::Null => drop(entries.remove(at)),
            Some(at) => overlay(&mut entries[at].1, node),
            None => entries.push((key.clone(), node.clone())),
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// Everything that is wrong with its syntax: the first mistake of the scanner, every duplicate key, tags, aliases that grow
/// beyond bounds.
pub fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    parse_file(text, 0)
}

/// Reads one YAML document, which is this file among those of a manifest.
///
/// # Errors
/// As [`parse`].
pub(super) fn parse_file(text: &str, file: usize) -> Result<Node, Vec<Problem>> {
    let parser = Parser::new_from_str(text);
    let mut reader = Reader { text, file, parser, anchors: HashMap::new(), size: 0, problems: Vec::new() };
    let root = reader.document().unwrap_or_else(|problem| {
        reader.problems.push(problem);
        None
    });
    match root {
        _ if !reader.problems.is_empty() => Err(reader.problems),
        Some(root) => Ok(root),
        None => Ok(Node::new(Value::Null, reader.start())),
    }
}

struct Reader<'i> {
    text: &'i str,
    file: usize,
    parser: Parser<'i, saphyr_parser::StrInput<'i>>,
    anchors: HashMap<usize, Node>,
    size: usize,
    problems: Vec<Problem>,
}

impl<'i> Reader<'i> {
    /// Where the text begins.
    fn start(&self) -> Place {
        Place { file: self.file, line: 1, column: 1, width: 1 }
    }

    fn place(&self, span: Span) -> Place {
        let one_line = span.start.line() == span.end.line();
        let width = if one_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
        Place { file: self.file, line: span.start.line(), column: span.start.col() + 1, width }
    }

    fn document(&mut self) -> Result<Option<Node>, Problem> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (Event::StreamEnd, _) => return Ok(root),
                (_, span) if root.is_some() => {
                    return Err(Problem::new(self.place(span), "a second document; a manifest is one document"));
                }
                (event, span) => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'i>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.not_yaml(&error)),
            None => Err(Problem::new(self.start(), "not YAML: the text ends inside a value")),
        }
    }

    /// What the scanner says, and the usual reasons for it.
    fn not_yaml(&self, error: &ScanError) -> Problem {
        let marker = error.marker();
        let place = Place { line: marker.line(), column: marker.col() + 1, ..self.start() };
        let line = self.text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
        let info = error.info();
        let line_begins_with_tab = line.trim_start_matches(' ').starts_with('\t');
        let hint = if info.contains("flow") && line.contains("${") {
            "; inside `{…}` and `[…]` a text with `${…}` needs quotes: \"${name}\""
        } else if info.contains("mapping values are not allowed") {
            "; a text with `: ` in it needs quotes"
        } else if info.contains("illegal placement of ':'") {
            "; a `[` or `{` above may not be closed"
        } else if info.contains("tab") || line_begins_with_tab {
            "; indent with spaces, not tabs"
        } else {
            ""
        };
        Problem::new(place, format!("not YAML: {info}{hint}"))
    }

    fn grow(&mut self, by: usize, at: Place) -> Result<(), Problem> {
        self.size += by;
        if self.size > LARGEST {
            return Err(Problem::new(at, format!("more than {LARGEST} values after aliases are replaced")));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'i>, span: Span, depth: usize) -> Result<Node, Problem> {
        let at = self.place(span);
        let too_deep = || Problem::new(at, format!("nested deeper than {DEEPEST} levels"));
        self.grow(1, at)?;
        if depth > DEEPEST {
            return Err(too_deep());
        }
        let mut written = None;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Problem::new(at, "an alias inside its own anchor"));
                };
                if depth + node.height() > DEEPEST {
                    return Err(too_deep());
                }
                let node = Node { place: at, ..node.clone() };
                self.grow(node.weight(), at)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                let is_plain = style == ScalarStyle::Plain;
                let value = if is_plain { plain(&text) } else { Value::Text(text.to_string()) };
                written = is_written_otherwise(&text, &value).then(|| text.into());
                (value, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                (Value::List(self.sequence(depth)?), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                (Value::Map(self.mapping(depth)?), anchor)
            }
            other => return Err(Problem::new(at, format!("not YAML: unexpected {other:?}"))),
        };
        let node = Node { written, ..Node::new(value, at) };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, _, anchor, tag), span) => {
                    self.key(text.into_owned(), anchor, tag.as_deref(), span)?
                }
                (_, span) => return Err(Problem::new(self.place(span), "a key that is not a word")),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if key.text == "<<" {
                match node.value {
                    Value::List(items) => merged.extend(items),
                    _ => merged.push(node),
                }
                continue;
            }
            match lines.entry(key.text.clone()) {
                Entry::Occupied(first) => {
                    let message = format!("`{}` appears here a second time; first in line {}", key.text, first.get());
                    self.problems.push(Problem::new(key.place, message));
                }
                Entry::Vacant(free) => {
                    free.insert(key.place.line);
                    entries.push((key, node));
                }
            }
            if entries.len() > MOST_KEYS {
                return Err(Problem::new(self.place(span), format!("more than {MOST_KEYS} keys in one mapping")));
            }
        }
        for node in merged {
            let Value::Map(more) = node.value else {
                self.problems.push(Problem::new(node.place, "`<<` takes a mapping or a list of mappings"));
                continue;
            };
            let new = more.into_iter().filter(|(key, _)| lines.insert(key.text.clone(), key.place.line).is_none());
            entries.extend(new);
        }
        Ok(entries)
    }

    fn key(&mut self, text: String, anchor: usize, tag: Option<&Tag>, span: Span) -> Result<Key, Problem> {
        let at = self.place(span);
        self.refuse_tag(tag, at);
        self.grow(1 + text.len() / TEXT_PER_VALUE, at)?;
        if anchor > 0 {
            self.anchors.insert(anchor, Node::new(Value::Text(text.clone()), at));
        }
        Ok(Key { text, place: at })
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, at: Place) {
        if let Some(tag) = tag {
            let message = format!("the tag `{}{}`; a manifest has no tags", tag.handle, tag.suffix);
            self.problems.push(Problem::new(at, message));
        }
    }
}

/// Whether the word of a value would be another than what is written.
fn is_written_otherwise(text: &str, value: &Value) -> bool {
    match value {
        Value::Bool(_) => !matches!(text, "true" | "false"),
        Value::Float(_) => text.trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// A plain scalar by the core schema of YAML 1.2 (`no` and `on` are text), where digits may be grouped: `30_000`. Digits with zeros
/// in front are text: other programs read `010` as 8.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let unsigned = text.trim_start_matches(['-', '+']);
    if unsigned.starts_with('0') && unsigned.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) {
        return Value::Text(text.to_owned());
    }
    let digits = if grouped(text) { text.replace('_', "") } else { text.to_owned() };
    if digits.chars().all(numeric) && !digits.starts_with(['e', 'E']) && digits.contains(|c: char| c.is_ascii_digit()) {
        if let Ok(number) = digits.parse() {
            return Value::Int(number);
        }
        // `1e999` is not a number: it has no finite value.
        if let Some(number) = digits.parse().ok().filter(|number: &f64| number.is_finite()) {
            return Value::Float(number);
        }
    }
    Value::Text(text.to_owned())
}

/// Whether underscores part groups of three digits, and nothing else: `1_000` is a number, `1_2` a name.
fn grouped(text: &str) -> bool {
    let mut groups = text.trim_start_matches(['-', '+']).split('_');
    let digits = |group: &str| group.chars().all(|c| c.is_ascii_digit());
    groups.next().is_some_and(|first| (1..=3).contains(&first.len()) && digits(first))
        && groups.all(|group| group.len() == 3 && digits(group))
}

#[cfg(test)]
mod tests {
    use super::super::typed::read;
    use super::*;

    fn messages(text: &str) -> Vec<(usize, usize, String)> {
        let problems = parse(text).unwrap_err();
        problems.into_iter().map(|p| (p.place.line, p.place.column, p.message)).collect()
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let node =
            parse("a: [1, -2, 0.3, 1e-5, 30_000, 1_2, 1e999, no, 'true', true, ~, 1.2.3, e5, 2024-01-01]").unwrap();
        let Value::List(items) = &node.get("a").unwrap().value else { panic!() };
        let values: Vec<_> = items.iter().map(|item| item.value.clone()).collect();
        let text = |s: &str| Value::Text(s.to_owned());
        let expected = [
            Value::Int(1),
            Value::Int(-2),
            Value::Float(0.3),
            Value::Float(1e-5),
            Value::Int(30_000),
            text("1_2"),
            text("1e999"),
            text("no"),
            text("true"),
            Value::Bool(true),
            Value::Null,
            text("1.2.3"),
            text("e5"),
            text("2024-01-01"),
        ];
        assert_eq!(values, expected);
        let node = parse("[010, -007, 0, 0.5, 00]").unwrap();
        let Value::List(items) = &node.value else { panic!() };
        let values: Vec<_> = items.iter().map(|item| item.value.clone()).collect();
        assert_eq!(values, [text("010"), text("-007"), Value::Int(0), Value::Float(0.5), text("00")]);
    }

    #[test]
    fn values_are_described_as_they_are_written() {
        let node = parse("[2.0, 1e3, 5, True, 'True', true, FALSE]").unwrap();
        let Value::List(items) = &node.value else { panic!() };
        let described: Vec<_> = items.iter().map(Node::describe).collect();
        let expected =
            ["the number 2.0", "the number 1000.0", "the number 5", "`True`", "the text `True`", "`true`", "`FALSE`"];
        assert_eq!(described, expected);
    }

    #[test]
    fn duplicate_keys_are_all_reported_with_their_places() {
        let found = messages("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0, found[0].1), (4, 3));
        assert_eq!((found[1].0, found[1].1), (5, 1));
        assert!(found[1].2.contains("first in line 1"), "{}", found[1].2);
    }

    #[test]
    fn aliases_that_grow_without_bound_are_refused() {
        let mut text = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
        for i in 1..10 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            text += &format!("a{i}: &a{i} [{aliases}]\n");
        }
        assert!(messages(&text)[0].2.contains("more than"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let found = messages(&format!("a: {}{}", "[".repeat(200), "]".repeat(200)));
        assert!(found[0].2.contains("nested deeper"), "{found:?}");
    }

    #[test]
    fn merge_keys_fill_what_is_missing() {
        let node = parse("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  x: 3\n").unwrap();
        let c = node.get("c").unwrap();
        assert_eq!(c.get("x").unwrap().value, Value::Int(3));
        assert_eq!(c.get("y").unwrap().value, Value::Int(2));
    }

    #[test]
    fn long_texts_count_when_aliases_repeat_them() {
        let aliases = vec!["*t"; 1000].join(", ");
        let found = messages(&format!("a: &t {}\nb: [{aliases}]\n", "x".repeat(100_000)));
        assert!(found[0].2.contains("more than"), "{found:?}");
    }

    #[test]
    fn nesting_built_by_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [1]\n");
        for i in 1..100 {
            text += &format!("a{i}: &a{i} [*a{}]\n", i - 1);
        }
        assert!(messages(&text)[0].2.contains("nested deeper"));
    }

    #[test]
    fn an_anchor_on_a_key_can_be_used() {
        let node = parse("&k a: 1\nb: *k\n").unwrap();
        assert_eq!(node.get("b").unwrap().text(), Some("a"));
    }

    #[test]
    fn what_is_laid_over_merges_replaces_and_removes() {
        let mut base = parse("a: {x: 1, y: 2, z: {p: 1}}\nb: [1]\n").unwrap();
        overlay(&mut base, &parse("a: {x: null, y: 3, z: {q: 2}}\nb: [2]\nc: 4\n").unwrap());
        let expected = parse("a: {y: 3, z: {p: 1, q: 2}}\nb: [2]\nc: 4\n").unwrap();
        let values = |node: &Node| read::<serde_json::Value>(node).unwrap();
        assert_eq!(values(&base), values(&expected));
    }

    #[test]
    fn syntax_errors_have_a_place_and_the_usual_reason() {
        let check = |text: &str, line: usize, hint: &str| {
            let found = messages(text);
            assert_eq!((found.len(), found[0].0), (1, line), "{found:?}");
            assert!(found[0].2.starts_with("not YAML: ") && found[0].2.ends_with(hint), "{found:?}");
        };
        check("a: [1, 2\nb: 3\n", 2, "a `[` or `{` above may not be closed");
        check("a:\n  b: {c: ${d}}\n", 2, "needs quotes: \"${name}\"");
        check("a: [x[${b}]]\n", 1, "needs quotes: \"${name}\"");
        check("a: what: is this\n", 1, "a text with `: ` in it needs quotes");
        check("a:\n  b: 1\n\tc: 2\n", 2, "indent with spaces, not tabs");
    }
}
