//! `${name}` in a manifest: variables, matrix values, and the environment variables that the manifest names.

use super::node::{DEEPEST, Node, Value};
use super::problem::{Place, Problem, clipped, suggestion};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

/// What names stand for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// `vars:` of the manifest, unexpanded.
    pub(super) vars: &'a Node,
    /// The environment variables that the manifest names, with their values; `None` where one is required and not set.
    pub(super) environment: &'a BTreeMap<String, Option<String>>,
    /// Values of the matrix.
    pub(super) matrix: &'a [(&'a str, &'a Node)],
    /// How much all values of the plan may still grow by, since variables in variables multiply.
    pub(super) budget: &'a Cell<usize>,
}

/// Size of all values of a plan after variables are replaced ([`Node::weight`]).
pub(super) const LARGEST: usize = 5_000_000;
/// How deep variables may lead to variables.
const LONGEST_CHAIN: usize = 32;
/// How deep names may be made of names, `${a.${b}}`, in all variables that lead to each other together.
const DEEPEST_NAME: usize = 32;

/// Where in the manifest a replacement takes place.
#[derive(Default)]
struct Trail {
    /// The variables that led here.
    names: Vec<String>,
    /// Names that are being made of names.
    inside: usize,
    /// Nesting of the value that is being made.
    depth: usize,
}

impl Scope<'_> {
    /// The value with every name replaced.
    ///
    /// # Errors
    /// The first name of the value that cannot be replaced, and why.
    pub(super) fn expand(&self, node: &Node) -> Result<Node, Problem> {
        self.replace(node, &mut Trail::default())
    }

    fn replace(&self, node: &Node, trail: &mut Trail) -> Result<Node, Problem> {
        self.spend(1, node.place)?;
        trail.depth += 1;
        if trail.depth > DEEPEST + 1 {
            let message = format!("nested deeper than {DEEPEST} levels after variables are replaced");
            return Err(Problem::new(node.place, message));
        }
        let value = match &node.value {
            Value::Text(text) => {
                trail.depth -= 1;
                return self.text(text, node, trail);
            }
            Value::List(items) => self.list(items, trail)?,
            Value::Map(entries) => {
                let replaced = entries.iter().map(|(key, value)| Ok((key.clone(), self.replace(value, trail)?)));
                Value::Map(replaced.collect::<Result<_, Problem>>()?)
            }
            other => other.clone(),
        };
        trail.depth -= 1;
        Ok(node.with(value, node.from_variable))
    }

    fn list(&self, items: &[Node], trail: &mut Trail) -> Result<Value, Problem> {
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let replaced = self.replace(item, trail)?;
            match replaced.value {
                Value::List(inner) if is_name(item) => list.extend(inner),
                _ => list.push(replaced),
            }
        }
        Ok(Value::List(list))
    }

    fn text(&self, text: &str, node: &Node, trail: &mut Trail) -> Result<Node, Problem> {
        if let Some(inner) = whole_name(text) {
            let mut found = self.look_up(inner, node.place, trail)?;
            found.used = Some(node.place);
            found.mark_from_variable();
            return Ok(found);
        }
        let mut from_variable = node.from_variable;
        let text = self.interpolated(text, node.place, trail, &mut from_variable)?;
        Ok(node.with(Value::Text(text), from_variable))
    }

    fn interpolated(
        &self,
        text: &str,
        place: Place,
        trail: &mut Trail,
        from_variable: &mut bool,
    ) -> Result<String, Problem> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, opened) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                out += before;
                out += "${";
                rest = opened;
                continue;
            }
            let Some(end) = closing(opened) else {
                return Err(Problem::new(place, format!("`{}` opens a `${{` that is not closed", clipped(text))));
            };
            let name = &opened[..end];
            let found = self.look_up(name, place, trail)?;
            let Some(scalar) = found.scalar() else {
                let kind = found.describe();
                let message = format!("`${{{name}}}` is {kind}; inside a text only a word or number fits");
                return Err(Problem::new(place, message));
            };
            out += before;
            out += &scalar;
            self.spend(out.len() / 64, place)?;
            *from_variable = true;
            rest = &opened[end + 1..];
        }
        self.spend((out.len() + rest.len()) / 64, place)?;
        Ok(out + rest)
    }

    /// The value of a name such as `steps`, `data.mnli` or `data.${task}`.
    fn look_up(&self, written: &str, place: Place, trail: &mut Trail) -> Result<Node, Problem> {
        trail.inside += 1;
        if trail.inside > DEEPEST_NAME + 1 {
            let message =
                format!("`${{{}` is in more than {DEEPEST_NAME} names that are made of names", clipped(written));
            return Err(Problem::new(place, message));
        }
        let name = self.interpolated(written, place, trail, &mut false)?;
        trail.inside -= 1;
        if name.is_empty() {
            return Err(Problem::new(place, "`${}` names no variable"));
        }
        if trail.names.contains(&name) {
            let chain: Vec<&str> = trail.names.iter().map(String::as_str).chain([name.as_str()]).collect();
            return Err(Problem::new(
                place,
                format!("variables refer to each other in a cycle: {}", chain.join(" -> ")),
            ));
        }
        if trail.names.len() >= LONGEST_CHAIN {
            return Err(Problem::new(place, format!("`{name}` leads through more than {LONGEST_CHAIN} variables")));
        }
        let (first, rest) = name.split_once('.').map_or((name.as_str(), None), |(first, rest)| (first, Some(rest)));
        let mut found = match self.matrix.iter().find(|(key, _)| *key == first) {
            Some((_, value)) => (*value).clone(),
            None => match self.vars.get(first) {
                Some(value) => return self.variable(&name, value, place, trail),
                None => self.environment_variable(first, place)?,
            },
        };
        for part in rest.iter().flat_map(|rest| rest.split('.')) {
            found = member(&found, first, part, place)?.clone();
        }
        Ok(found)
    }

    /// The value of a variable, or what a path leads to in it.
    fn variable(&self, name: &str, value: &Node, place: Place, trail: &mut Trail) -> Result<Node, Problem> {
        trail.names.push(name.to_owned());
        let (mut path, rest) = name.split_at(name.find('.').unwrap_or(name.len()));
        let mut found = Cow::Borrowed(value);
        for part in rest.split('.').skip(1) {
            found = match found {
                // A variable that is another variable.
                Cow::Borrowed(node) if node.text().is_some_and(|text| text.contains("${")) => {
                    Cow::Owned(member(&self.replace(node, trail)?, path, part, place)?.clone())
                }
                Cow::Borrowed(node) => Cow::Borrowed(member(node, path, part, place)?),
                Cow::Owned(node) => Cow::Owned(member(&node, path, part, place)?.clone()),
            };
            path = &name[..path.len() + 1 + part.len()];
        }
        let replaced = match found {
            Cow::Borrowed(node) => self.replace(node, trail)?,
            Cow::Owned(node) => node,
        };
        trail.names.pop();
        Ok(replaced)
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
                let matrix = self.matrix.iter().map(|(key, _)| *key);
                let vars = self.vars.entries().iter().map(|(key, _)| key.text.as_str());
                let hint = suggestion(name, matrix.chain(vars).chain(self.environment.keys().map(String::as_str)));
                let of_environment = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                let hint = match hint {
                    _ if of_environment => "; an environment variable must be listed in `environment`".to_owned(),
                    hint if hint.is_empty() => "; the manifest has no `vars`".to_owned(),
                    hint => hint,
                };
                Err(Problem::new(place, format!("no variable `{}`{hint}", clipped(name))))
            }
        }
    }

    fn spend(&self, size: usize, place: Place) -> Result<(), Problem> {
        match self.budget.get().checked_sub(size) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => {
                // Nothing more is expanded, so that this is said once.
                self.budget.set(0);
                let message = format!("the plan grows beyond {LARGEST} values after variables are replaced");
                Err(Problem::new(place, message))
            }
        }
    }
}

/// What a mapping says about a key.
fn member<'n>(node: &'n Node, path: &str, part: &str, place: Place) -> Result<&'n Node, Problem> {
    node.get(part).ok_or_else(|| {
        let message = match &node.value {
            Value::Map(entries) => {
                let known = suggestion(part, entries.iter().map(|(key, _)| key.text.as_str()));
                format!("`{path}` has no `{}`{known}", clipped(part))
            }
            _ => format!("`{path}` is {}, so it has no `{}`", node.describe(), clipped(part)),
        };
        Problem::new(place, message)
    })
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
    use crate::engine::manifest::node::parse;
    use crate::engine::manifest::typed::read;

    fn expand(text: &str) -> Result<serde_json::Value, String> {
        expand_with(
            "n: 3\nname: mnli\nlist: [a, b]\nmap: {mnli: {x: 1}, cb: two, deep: \"${map.mnli}\"}\nalias: ${map}\n\
             loop: ${pool}\npool: ${loop}\n",
            text,
        )
    }

    fn expand_with(vars: &str, text: &str) -> Result<serde_json::Value, String> {
        let vars = parse(vars).unwrap();
        let environment = BTreeMap::from([("DIR".to_owned(), Some("/data".to_owned())), ("GONE".to_owned(), None)]);
        let task = Node::new(Value::Text("cb".to_owned()), Place::default());
        let scope =
            Scope { vars: &vars, environment: &environment, matrix: &[("task", &task)], budget: &Cell::new(LARGEST) };
        let node = parse(&format!("v: {text}")).unwrap();
        scope.expand(node.get("v").unwrap()).map(|node| read(&node).unwrap()).map_err(|problem| problem.message)
    }

    fn yaml(text: &str) -> serde_json::Value {
        read(&parse(text).unwrap()).unwrap()
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
        assert_eq!(expand("${map.${name}}").unwrap(), yaml("{x: 1}"));
        assert_eq!(expand("a ${map.${task}} b").unwrap(), yaml("a two b"));
    }

    #[test]
    fn names_in_names_without_end_are_refused() {
        let nested = |vars: &str, times: usize| {
            expand_with(vars, &format!("\"{}a{}\"", "${".repeat(times), "}".repeat(times)))
                .map_err(|e| e.replace("${", ""))
        };
        assert_eq!(nested("a: a\n", DEEPEST_NAME + 1).unwrap(), yaml("a"));
        for times in [DEEPEST_NAME + 2, 20_000] {
            let error = nested("a: a\n", times).unwrap_err();
            assert!(error.ends_with("is in more than 32 names that are made of names"), "{error}");
        }
        // Of variables in each other together.
        let vars: String = (0..20).map(|at| format!("v{at}: \"${{${{w{at}}}}}\"\nw{at}: v{}\n", at + 1)).collect();
        assert_eq!(expand_with(&format!("{vars}v20: x\n"), "${v0}").unwrap(), yaml("x"));
    }

    #[test]
    fn a_path_leads_through_variables() {
        assert_eq!(expand("${map.deep}").unwrap(), yaml("{x: 1}"));
        assert_eq!(expand("${map.deep.x}").unwrap(), yaml("1"));
        assert_eq!(expand("${alias.cb}").unwrap(), yaml("two"));
    }

    #[test]
    fn what_a_variable_supplied_is_marked_to_the_leaves() {
        let vars = parse("files: [/a, {x: /b}]\n").unwrap();
        let scope = Scope { vars: &vars, environment: &BTreeMap::new(), matrix: &[], budget: &Cell::new(LARGEST) };
        let node = scope.expand(&parse("[\"${files}\", /c]").unwrap()).unwrap();
        let marked = ["[0]", "[1].x", "[2]"].map(|path| node.at(path).from_variable);
        assert_eq!(marked, [true, true, false]);
    }

    #[test]
    fn variables_that_multiply_are_refused() {
        let mut vars = String::from("a0: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
        for i in 1..10 {
            let names = vec![format!("\"${{a{}}}\"", i - 1); 10].join(", ");
            vars += &format!("a{i}: [{names}]\n");
        }
        assert!(expand_with(&vars, "${a9}").unwrap_err().contains("grows beyond"));
        let mut vars = String::from("t0: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n");
        for i in 1..31 {
            vars += &format!("t{i}: ${{t{0}}}${{t{0}}}\n", i - 1);
        }
        assert!(expand_with(&vars, "${t30}").unwrap_err().contains("grows beyond"));
        let mut vars = String::from("d0: 1\n");
        for i in 1..=30 {
            vars += &format!("d{i}: {{a: {{b: {{c: \"${{d{}}}\"}}}}}}\n", i - 1);
        }
        assert!(expand_with(&vars, "${d30}").unwrap_err().contains("nested deeper"));
        let chain: String = (0..100).map(|i| format!("c{i}: ${{c{}}}\n", i + 1)).collect();
        assert!(expand_with(&chain, "${c0}").unwrap_err().contains("more than 32 variables"));
    }

    #[test]
    fn what_cannot_be_replaced_says_why() {
        assert_eq!(expand("${lst}").unwrap_err(), "no variable `lst`; did you mean `list`?");
        assert_eq!(expand("x${list}").unwrap_err(), "`${list}` is a list; inside a text only a word or number fits");
        assert_eq!(expand("${map.wic}").unwrap_err(), "`map` has no `wic`; known: `mnli`, `cb`, `deep`");
        assert_eq!(expand("${loop}").unwrap_err(), "variables refer to each other in a cycle: loop -> pool -> loop");
        assert!(expand("${GONE}").unwrap_err().contains("is not set"));
        assert!(expand("x${n").unwrap_err().contains("not closed"));
        assert_eq!(expand("${n.x}").unwrap_err(), "`n` is the number 3, so it has no `x`");
        assert_eq!(expand("${task.x}").unwrap_err(), "`task` is the text `cb`, so it has no `x`");
        assert_eq!(expand("${DIR.x}").unwrap_err(), "`DIR` is the text `/data`, so it has no `x`");
        assert_eq!(expand("a${}").unwrap_err(), "`${}` names no variable");
        assert_eq!(expand("${${list}}").unwrap_err(), "`${list}` is a list; inside a text only a word or number fits");
    }
}
