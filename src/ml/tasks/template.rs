//! Templates: a text with the names of columns in braces, `title: {title} review: {text}`.

/// A text with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Text in front of each hole, and the hole's name.
    holes: Vec<(String, String)>,
    /// Text after the last hole.
    rest: String,
}

impl Template {
    /// Reads a template; `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut holes, mut before, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            before.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                before.push_str(brace);
                rest = after;
                continue;
            }
            let hole = rest.split_once('}').filter(|(name, _)| brace == "{" && !name.contains('{'));
            let Some((name, after)) = hole else {
                return Err(format!(
                    "has a `{brace}` without its partner; write `{brace}{brace}` for a brace that is text"
                ));
            };
            if name.trim().is_empty() {
                return Err("has a placeholder without a name; expected that of a column: `{title}`".to_owned());
            }
            holes.push((std::mem::take(&mut before), name.trim().to_owned()));
            rest = after;
        }
        if holes.is_empty() {
            return Err(
                "has no placeholder, so all inputs would be the same; expected one at least: `{title}`".to_owned()
            );
        }
        before.push_str(rest);
        Ok(Self { holes, rest: before })
    }

    /// The names of the holes, each once, in the order of their first appearance.
    pub fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (_, name) in &self.holes {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// The text with its holes filled.
    pub(super) fn fill<'v>(&self, value: impl Fn(&str) -> std::borrow::Cow<'v, str>) -> String {
        let mut text = String::new();
        for (before, name) in &self.holes {
            text.push_str(before);
            text.push_str(&value(name));
        }
        text + &self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_doubled_braces_are_text() {
        let template = Template::parse("{{{a}}} b: { long name }, again {a}!").unwrap();
        assert_eq!(template.columns(), ["a", "long name"]);
        assert_eq!(template.fill(|name| format!("<{name}>").into()), "{<a>} b: <long name>, again <a>!");
    }

    #[test]
    fn values_are_not_templates() {
        assert_eq!(Template::parse("{a}").unwrap().fill(|_| "{b}}".into()), "{b}}");
    }

    #[test]
    fn mistakes_are_told() {
        let error = |text: &str| Template::parse(text).unwrap_err();
        assert!(error("{a").starts_with("has a `{` without its partner; write `{{`"));
        assert!(error("a} {b}").starts_with("has a `}` without its partner; write `}}`"));
        assert!(error("{a {b}").starts_with("has a `{` without its partner"));
        assert!(error("{ }").starts_with("has a placeholder without a name"));
        assert!(error("text {{a}}").starts_with("has no placeholder"));
    }
}
