//! Templates: a text with the names of columns in braces, `title: {title} review: {text}`.

use super::spacing::Spacing;
use crate::braces::{Braces, Piece};

/// A text with holes, and the spacing that it has once they are filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    braces: Braces,
    spacing: Spacing,
}

impl Template {
    /// Reads a template; `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let braces = Braces::parse(text)?;
        if braces.names().any(|name| name.trim().is_empty()) {
            return Err("has a placeholder without a name; expected that of a column: `{title}`".to_owned());
        }
        if braces.plain().is_some() {
            return Err(
                "has no placeholder, so all inputs would be the same; expected at least one: `{title}`".to_owned()
            );
        }
        Ok(Self { braces, spacing: Spacing::default() })
    }

    /// The same with a spacing.
    #[must_use]
    pub fn spaced(self, spacing: Spacing) -> Self {
        Self { spacing, ..self }
    }

    /// The spacing of what it makes.
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// The names of the holes, each once, in the order of their first appearance.
    pub fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.braces.names().map(str::trim) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// What stands before and after the only hole; `None` if there are several.
    pub(super) fn around(&self) -> Option<(&str, &str)> {
        match self.braces.pieces().collect::<Vec<_>>()[..] {
            [Piece::Text(before), Piece::Name(_), Piece::Text(after)] => Some((before, after)),
            _ => None,
        }
    }

    /// The text with its holes filled, in its spacing.
    pub(super) fn fill<'v>(&self, value: impl Fn(&str) -> std::borrow::Cow<'v, str>) -> String {
        let mut text = String::new();
        for piece in self.braces.pieces() {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Name(name) => text.push_str(&self.spacing.of_column(&value(name.trim()))),
            }
        }
        self.spacing.of_input(text)
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
        assert!(error("{a").starts_with("has a `{` without its partner"));
        assert!(error("{ }").starts_with("has a placeholder without a name"));
        assert!(error("text {{a}}").starts_with("has no placeholder"));
    }
}
