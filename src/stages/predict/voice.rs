//! How messages name a setting: as the command line spells it, or as a manifest does.

/// Rows and settings that do not go together: another setting would help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Somebody at a command line.
    CommandLine,
    /// The author of a manifest.
    Manifest,
}

impl Voice {
    /// A setting: `--input-length`, or `input_length`.
    pub(super) fn setting(self, name: &str) -> String {
        match self {
            Self::CommandLine => format!("`{}`", option(name)),
            Self::Manifest => format!("`{name}`"),
        }
    }

    /// A setting that is on or off, as it is switched on: `--complete`, or `complete: true`.
    pub(super) fn switch(self, name: &str) -> String {
        match self {
            Self::CommandLine => self.setting(name),
            Self::Manifest => format!("`{name}: true`"),
        }
    }

    /// A setting with a value: `--template 'a: {b}'`, or `template: "a: {b}"`.
    pub(super) fn with(self, name: &str, value: &str) -> String {
        let is_word = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match self {
            Self::CommandLine if is_word => format!("`{} {value}`", option(name)),
            Self::CommandLine => format!("`{} '{value}'`", option(name)),
            Self::Manifest if is_word => format!("`{name}: {value}`"),
            Self::Manifest => format!("`{name}: \"{value}\"`"),
        }
    }
}

fn option(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::Voice::{CommandLine, Manifest};

    #[test]
    fn settings_are_spelt_as_they_are_typed() {
        let both = |say: &dyn Fn(super::Voice) -> String| [say(CommandLine), say(Manifest)];
        assert_eq!(both(&|voice| voice.setting("input_length")), ["`--input-length`", "`input_length`"]);
        assert_eq!(both(&|voice| voice.switch("complete")), ["`--complete`", "`complete: true`"]);
        assert_eq!(both(&|voice| voice.with("quotes", "text")), ["`--quotes text`", "`quotes: text`"]);
        assert_eq!(
            both(&|voice| voice.with("template", "a: {b}")),
            ["`--template 'a: {b}'`", "`template: \"a: {b}\"`"]
        );
    }
}
