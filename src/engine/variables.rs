//! `${name}` in a manifest: variables, matrix values, and the environment variables that the manifest names.

use super::node::{Node, Value};
use super::problem::{Place, Problem, suggestion};
use std::collections::BTreeMap;

/// What names stand for.
pub(super) struct Scope<'a> {
    /// `vars:` of the manifest, unexpanded.
    pub(super) vars: &'a Node,
    /// The environment variables that the manifest names, with their values; `None` where one is required and not set.
    pub(super) environment: &'a BTreeMap<String, Option<String>>,
    /// Values of the matrix.
    pub(super) matrix: Vec<(String, Node)>,
}

/// How deep variables may lead to variables.
const DEEPEST: usize = 32;

impl Scope<'_> {
    /// The value with every name replaced.
    ///
    /// # Errors
    /// The first name of the value that cannot be replaced, and why.
    pub(super) fn expand(&self, node: &Node) -> Result<Node, Problem> {
        self.replace(node, &mut Vec::new())
    }

    fn replace(&self, node: &Node, stack: &mut Vec<String>) -> Result<Node, Problem> {
        let value = match &node.value {
            Value::Text(text) => return self.text(text, node, stack),
            Value::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    let replaced = self.replace(item, stack)?;
                    match replaced.value {
                        Value::List(inner) if is_name(item) => list.extend(inner),
                        _ => list.push(replaced),
                    }
                }
                Value::List(list)
            }
            Value::Map(entries) => {
                let replaced = entries.iter().map(|(key, value)| Ok((key.clone(), self.replace(value, stack)?)));
                Value::Map(replaced.collect::<Result<_, Problem>>()?)
            }
            other => other.clone(),
        };
        Ok(Node { value, ..node.clone() })
    }

    fn text(&self, text: &str, node: &Node, stack: &mut Vec<String>) -> Result<Node, Problem> {
        if let Some(inner) = whole_name(text) {
            let mut found = self.look_up(inner, node.place, stack)?;
            found.place = node.place;
            found.from_variable = true;
            return Ok(found);
        }
        let mut out = String::new();
        let mut from_variable = node.from_variable;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                out += before;
                out += "${";
                rest = &rest[at + 2..];
                continue;
            }
            out += &rest[..at];
            let Some(end) = closing(&rest[at + 2..]) else {
                return Err(Problem::new(node.place, format!("`{text}` opens a `${{` that is not closed")));
            };
            let name = &rest[at + 2..at + 2 + end];
            let found = self.look_up(name, node.place, stack)?;
            let Some(scalar) = found.scalar() else {
                let kind = found.describe();
                return Err(Problem::new(
                    node.place,
                    format!("`${{{name}}}` is {kind}; inside a text only a word or number fits"),
                ));
            };
            out += &scalar;
            from_variable = true;
            rest = &rest[at + 3 + end..];
        }
        out += rest;
        Ok(Node { value: Value::Text(out), from_variable, ..node.clone() })
    }

    /// The value of a name such as `steps`, `data.mnli` or `data.${task}`.
    fn look_up(&self, name: &str, place: Place, stack: &mut Vec<String>) -> Result<Node, Problem> {
        let name = match self.text_of(name, place, stack)? {
            Some(replaced) => replaced,
            None => name.to_owned(),
        };
        if stack.contains(&name) {
            let chain: Vec<&str> = stack.iter().map(String::as_str).chain([name.as_str()]).collect();
            return Err(Problem::new(place, format!("variables in a circle: {}", chain.join(" -> "))));
        }
        if stack.len() >= DEEPEST {
            return Err(Problem::new(place, format!("`{name}` leads through more than {DEEPEST} variables")));
        }
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        if let Some((_, value)) = self.matrix.iter().find(|(key, _)| key == first) {
            return Ok(value.clone());
        }
        let Some(mut found) = self.vars.get(first) else { return self.environment_variable(first, place) };
        let mut path = first.to_owned();
        for part in parts {
            found = found.get(part).ok_or_else(|| {
                let known = suggestion(part, found.entries().iter().map(|(key, _)| key.text.as_str()));
                Problem::new(place, format!("`{path}` has no `{part}`{known}"))
            })?;
            path = format!("{path}.{part}");
        }
        stack.push(name);
        let replaced = self.replace(found, stack);
        stack.pop();
        replaced
    }

    /// A name in which other names occur, with these replaced.
    fn text_of(&self, name: &str, place: Place, stack: &mut Vec<String>) -> Result<Option<String>, Problem> {
        if !name.contains("${") {
            return Ok(None);
        }
        let node = Node::new(Value::Text(format!("{name} ")), place);
        // The blank keeps a single name from being replaced by a value that is no text.
        Ok(self.replace(&node, stack)?.text().map(|text| text.trim_end().to_owned()))
    }

    fn environment_variable(&self, name: &str, place: Place) -> Result<Node, Problem> {
        match self.environment.get(name) {
            Some(Some(value)) => Ok(Node::new(Value::Text(value.clone()), place)),
            Some(None) => {
                let message = format!(
                    "the environment variable `{name}` is not set; set it, or give it a default in `environment`"
                );
                Err(Problem::new(place, message))
            }
            None => {
                let vars = self.vars.entries().iter().map(|(key, _)| key.text.as_str());
                let names: Vec<&str> = self
                    .matrix
                    .iter()
                    .map(|(key, _)| key.as_str())
                    .chain(vars)
                    .chain(self.environment.keys().map(String::as_str))
                    .collect();
                let known = suggestion(name, names.iter().copied());
                Err(Problem::new(place, format!("no variable `{name}`{known}")))
            }
        }
    }
}

fn is_name(node: &Node) -> bool {
    node.text().is_some_and(|text| whole_name(text).is_some())
}

/// The inside of a text that is `${…}` and nothing else.
fn whole_name(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?;
    let end = closing(inner)?;
    (end + 1 == inner.len()).then(|| &inner[..end])
}

/// Where the brace that was opened just before this text closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::node::parse;

    fn expand(text: &str) -> Result<serde_yaml::Value, String> {
        let vars =
            parse("n: 3\nname: mnli\nlist: [a, b]\nmap: {mnli: {x: 1}, cb: two}\nloop: ${pool}\npool: ${loop}\n")
                .unwrap();
        let environment = BTreeMap::from([("DIR".to_owned(), Some("/data".to_owned())), ("GONE".to_owned(), None)]);
        let scope = Scope {
            vars: &vars,
            environment: &environment,
            matrix: vec![("task".to_owned(), Node::new(Value::Text("cb".to_owned()), Place::default()))],
        };
        let node = parse(&format!("v: {text}")).unwrap();
        scope.expand(node.get("v").unwrap()).map(|node| node.to_yaml()).map_err(|problem| problem.message)
    }

    fn yaml(text: &str) -> serde_yaml::Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn a_whole_name_keeps_the_type_of_its_value() {
        assert_eq!(expand("${n}").unwrap(), yaml("3"));
        assert_eq!(expand("\"${list}\"").unwrap(), yaml("[a, b]"));
        assert_eq!(expand("${map.mnli}").unwrap(), yaml("{x: 1}"));
    }

    #[test]
    fn names_inside_a_text_are_interpolated() {
        assert_eq!(expand("source[${task},${n}]").unwrap(), yaml("'source[cb,3]'"));
        assert_eq!(expand("${DIR}/x").unwrap(), yaml("/data/x"));
        assert_eq!(expand("a$${n}").unwrap(), yaml("'a${n}'"));
    }

    #[test]
    fn a_list_in_a_list_is_spliced() {
        assert_eq!(expand("[\"${list}\", c, [d]]").unwrap(), yaml("[a, b, c, [d]]"));
    }

    #[test]
    fn a_name_may_be_made_of_names() {
        assert_eq!(expand("${map.${task}}").unwrap(), yaml("two"));
    }

    #[test]
    fn what_cannot_be_replaced_says_why() {
        assert_eq!(expand("${lst}").unwrap_err(), "no variable `lst`; did you mean `list`?");
        assert_eq!(expand("x${list}").unwrap_err(), "`${list}` is a list; inside a text only a word or number fits");
        assert_eq!(expand("${map.wic}").unwrap_err(), "`map` has no `wic`; known: `mnli`, `cb`");
        assert_eq!(expand("${loop}").unwrap_err(), "variables in a circle: loop -> pool -> loop");
        assert!(expand("${GONE}").unwrap_err().contains("is not set"));
        assert!(expand("x${n").unwrap_err().contains("not closed"));
    }
}
