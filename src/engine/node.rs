//! YAML with places: what a manifest says, and where.

use super::problem::{Place, Problem};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::HashMap;

/// A value of a manifest and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What stands there.
    pub value: Value,
    /// Where.
    pub place: Place,
    /// Whether a variable of the manifest or the environment supplied (part of) it.
    pub from_variable: bool,
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

/// Values of one manifest after aliases are replaced; more is a mistake or an attack.
const MOST_NODES: usize = 200_000;
/// Nesting that the parser follows.
const MOST_DEPTH: usize = 64;

impl Node {
    /// A value at a place.
    pub fn new(value: Value, place: Place) -> Self {
        Self { value, place, from_variable: false }
    }

    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// Keys and values; none if this is no mapping.
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
            Value::Bool(x) => format!("`{x}`"),
            Value::Int(x) => format!("the number {x}"),
            Value::Float(x) => format!("the number {x}"),
            Value::Text(x) => format!("the text `{x}`"),
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

    /// The value for serde.
    pub fn to_yaml(&self) -> serde_yaml::Value {
        use serde_yaml::Value as Yaml;
        match &self.value {
            Value::Null => Yaml::Null,
            Value::Bool(x) => Yaml::Bool(*x),
            Value::Int(x) => Yaml::Number((*x).into()),
            Value::Float(x) => Yaml::Number((*x).into()),
            Value::Text(x) => Yaml::String(x.clone()),
            Value::List(items) => Yaml::Sequence(items.iter().map(Node::to_yaml).collect()),
            Value::Map(entries) => {
                Yaml::Mapping(entries.iter().map(|(k, v)| (Yaml::String(k.text.clone()), v.to_yaml())).collect())
            }
        }
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.count()).sum(),
            _ => 0,
        }
    }
}

/// Lays `over` on `base`: mappings are merged key by key, everything else is replaced.
pub fn overlay(base: &mut Node, over: &Node) {
    let Value::Map(entries) = &mut base.value else {
        *base = over.clone();
        return;
    };
    let Value::Map(news) = &over.value else {
        *base = over.clone();
        return;
    };
    for (key, node) in news {
        match entries.iter_mut().find(|(name, _)| name.text == key.text) {
            Some((_, old)) => overlay(old, node),
            None => entries.push((key.clone(), node.clone())),
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// Everything that is wrong with its syntax: the first mistake of the scanner, every duplicate key, unknown tags, aliases
/// that grow beyond bounds.
pub fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let mut reader = Reader { anchors: HashMap::new(), nodes: 0, problems: Vec::new() };
    let mut parser = Parser::new_from_str(text);
    let mut root = None;
    loop {
        match parser.next_event() {
            None => break,
            Some(Err(error)) => {
                let marker = error.marker();
                let place = Place { line: marker.line(), column: marker.col() + 1, width: 1 };
                reader.problems.push(Problem::new(place, format!("not YAML: {}", error.info())));
                break;
            }
            Some(Ok((Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _))) => {}
            Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((event, span))) => {
                if root.is_some() {
                    let message = "a second document; a manifest is one document";
                    reader.problems.push(Problem::new(place(span), message));
                    break;
                }
                match reader.node(&mut parser, event, span, 0) {
                    Ok(node) => root = Some(node),
                    Err(problem) => {
                        reader.problems.push(problem);
                        break;
                    }
                }
            }
        }
    }
    match root {
        Some(root) if reader.problems.is_empty() => Ok(root),
        None if reader.problems.is_empty() => Ok(Node::new(Value::Null, Place { line: 1, column: 1, width: 1 })),
        _ => Err(reader.problems),
    }
}

struct Reader {
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: Vec<Problem>,
}

fn place(span: Span) -> Place {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
    Place { line: span.start.line(), column: span.start.col() + 1, width }
}

type Events<'i> = Parser<'i, saphyr_parser::StrInput<'i>>;

impl Reader {
    fn next<'i>(parser: &mut Events<'i>) -> Result<(Event<'i>, Span), Problem> {
        match parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = error.marker();
                let place = Place { line: marker.line(), column: marker.col() + 1, width: 1 };
                Err(Problem::new(place, format!("not YAML: {}", error.info())))
            }
            None => Err(Problem::new(Place::default(), "not YAML: the text ends inside a value")),
        }
    }

    fn node<'i>(
        &mut self,
        parser: &mut Events<'i>,
        event: Event<'i>,
        span: Span,
        depth: usize,
    ) -> Result<Node, Problem> {
        let at = place(span);
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Problem::new(at, format!("more than {MOST_NODES} values after aliases are replaced")));
        }
        if depth > MOST_DEPTH {
            return Err(Problem::new(at, format!("nested deeper than {MOST_DEPTH} levels")));
        }
        let (node, anchor) = match event {
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::new(at, "an alias inside its own anchor"));
                };
                self.nodes += node.count();
                node.place = at;
                (node, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                let value = if style == ScalarStyle::Plain { plain(&text) } else { Value::Text(text.into_owned()) };
                (Node::new(value, at), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                let mut items = Vec::new();
                loop {
                    match Self::next(parser)? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(parser, event, span, depth + 1)?),
                    }
                }
                (Node::new(Value::List(items), at), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                (Node::new(Value::Map(self.mapping(parser, depth)?), at), anchor)
            }
            other => return Err(Problem::new(at, format!("not YAML: unexpected {other:?}"))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, parser: &mut Events<'_>, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (key, key_place) = match Self::next(parser)? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, ..), span) => (text.into_owned(), place(span)),
                (_, span) => return Err(Problem::new(place(span), "a key that is not a word")),
            };
            let (event, span) = Self::next(parser)?;
            let node = self.node(parser, event, span, depth + 1)?;
            if key == "<<" {
                match node.value {
                    Value::List(items) => merged.extend(items),
                    _ => merged.push(node),
                }
            } else if let Some((first, _)) = entries.iter().find(|(name, _)| name.text == key) {
                let message = format!("`{key}` stands here a second time; first in line {}", first.place.line);
                self.problems.push(Problem::new(key_place, message));
            } else {
                entries.push((Key { text: key, place: key_place }, node));
            }
        }
        for node in merged {
            let Value::Map(more) = node.value else {
                self.problems.push(Problem::new(node.place, "`<<` takes a mapping or a list of mappings"));
                continue;
            };
            for (key, node) in more {
                if !entries.iter().any(|(name, _)| name.text == key.text) {
                    entries.push((key, node));
                }
            }
        }
        Ok(entries)
    }

    fn refuse_tag(&mut self, tag: Option<&saphyr_parser::Tag>, at: Place) {
        if let Some(tag) = tag {
            let message = format!("the tag `{}{}`; a manifest has no tags", tag.handle, tag.suffix);
            self.problems.push(Problem::new(at, message));
        }
    }
}

/// A plain scalar by the core schema of YAML 1.2: `no` and `on` are text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let looks_numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && text.chars().any(|c| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E' | '_'));
    if looks_numeric {
        let digits = text.replace('_', "");
        if let Ok(number) = digits.parse() {
            return Value::Int(number);
        }
        if let Ok(number) = digits.parse() {
            return Value::Float(number);
        }
    }
    Value::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<(usize, usize, String)> {
        let problems = parse(text).unwrap_err();
        problems.into_iter().map(|p| (p.place.line, p.place.column, p.message)).collect()
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let node = parse("a: [1, -2, 0.3, 1e-5, 30_000, no, 'true', true, ~, 1.2.3, e5]").unwrap();
        let Value::List(items) = &node.get("a").unwrap().value else { panic!() };
        let values: Vec<_> = items.iter().map(|item| item.value.clone()).collect();
        let text = |s: &str| Value::Text(s.to_owned());
        let expected = [
            Value::Int(1),
            Value::Int(-2),
            Value::Float(0.3),
            Value::Float(1e-5),
            Value::Int(30_000),
            text("no"),
            text("true"),
            Value::Bool(true),
            Value::Null,
            text("1.2.3"),
            text("e5"),
        ];
        assert_eq!(values, expected);
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
    fn syntax_errors_have_a_place() {
        let found = messages("a: [1, 2\nb: 3\n");
        assert!(found[0].0 >= 1 && found[0].2.starts_with("not YAML"), "{found:?}");
    }
}
