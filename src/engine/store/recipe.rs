//! A recipe: everything that decides the result of a job, and nothing else. The same value is hashed, stored, printed and
//! compared, so an explanation cannot drift from the key.

use super::digest::{Digest, Key};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Version of the encoding of recipes. A change of meaning gets a new one, and with it every job a new key.
pub const SCHEMA: u32 = 1;

/// Everything that decides the result of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The kind of stage.
    pub kind: String,
    /// The version of the kind.
    pub version: u32,
    /// Every parameter that affects the result, after defaults.
    pub params: Value,
    /// Role and content of everything that is read, in the order of the kind.
    pub inputs: Vec<(String, Digest)>,
}

/// Where two recipes differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Difference {
    /// A parameter.
    Param {
        /// Its path: `optimizer.learning_rate`.
        field: String,
        /// What it was; absent if it is new.
        old: Option<Value>,
        /// What it is; absent if it is gone.
        new: Option<Value>,
    },
    /// The content of an input, or of several with one role.
    Input {
        /// Its role.
        field: String,
        /// What was read.
        old: Vec<Digest>,
        /// What is read now.
        new: Vec<Digest>,
    },
    /// The version of the kind.
    Version {
        /// The kind.
        field: String,
        /// What it was.
        old: u32,
        /// What it is.
        new: u32,
    },
}

impl Recipe {
    /// A recipe of the current schema.
    pub fn new(kind: &str, version: u32, params: Value, inputs: Vec<(String, Digest)>) -> Self {
        Self { schema: SCHEMA, kind: kind.to_owned(), version, params, inputs }
    }

    /// The bytes that are hashed: JSON without white space, keys sorted by their bytes, floats as the shortest text that
    /// reads back to the same number. JSON frames every field, so that no two recipes share an encoding.
    pub fn canonical(&self) -> String {
        canonical(&serde_json::to_value(self).expect("a recipe has only string keys and finite numbers"))
    }

    /// The key: what the entry of this recipe is called.
    pub fn key(&self) -> Key {
        Key::of(self.canonical().as_bytes())
    }

    /// Where `self` differs from an older recipe of its kind: the version first, then parameters, then inputs.
    pub fn differences(&self, old: &Recipe) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.version != old.version {
            let field = self.kind.clone();
            found.push(Difference::Version { field, old: old.version, new: self.version });
        }
        let (before, now) = (flat(&old.params), flat(&self.params));
        for field in union(&before, &now) {
            let (old, new) = (before.get(field).cloned(), now.get(field).cloned());
            let is_same = old.as_ref().zip(new.as_ref()).is_some_and(|(old, new)| same(old, new));
            if !is_same {
                found.push(Difference::Param { field: field.clone(), old, new });
            }
        }
        found.extend(input_differences(&old.inputs, &self.inputs));
        found
    }
}

/// Differences of the inputs, role by role.
fn input_differences(old: &[(String, Digest)], new: &[(String, Digest)]) -> Vec<Difference> {
    let (before, now) = (by_role(old), by_role(new));
    union(&before, &now)
        .filter(|role| before.get(*role) != now.get(*role))
        .map(|role| Difference::Input {
            field: role.clone(),
            old: before.get(role).cloned().unwrap_or_default(),
            new: now.get(role).cloned().unwrap_or_default(),
        })
        .collect()
}

fn by_role(inputs: &[(String, Digest)]) -> BTreeMap<String, Vec<Digest>> {
    let mut roles: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
    for (role, digest) in inputs {
        roles.entry(role.clone()).or_default().push(*digest);
    }
    roles
}

fn union<'a, V>(
    one: &'a BTreeMap<String, V>,
    other: &'a BTreeMap<String, V>,
) -> impl Iterator<Item = &'a String> + use<'a, V> {
    let mut names: Vec<_> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter()
}

/// Whether two values are equal but for the last bits of floats, which `serde_json` does not read back exactly.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= 4.0 * f64::EPSILON * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}

/// Scalars by their path. Lists stay whole: a changed list reads better than its items.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, into);
                }
            }
            _ => {
                into.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut scalars = BTreeMap::new();
    walk("", value, &mut scalars);
    scalars
}

/// JSON without white space and with sorted keys. Sorted here, because `serde_json` keeps the order of insertion as soon as
/// any crate of the build asks it to.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            text.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Number(number) if number.is_f64() => {
            // By the standard library and not by serde_json, whose way to write floats has changed before.
            let float = number.as_f64().expect("asked above");
            text.push_str(&format!("{float:?}"));
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

impl Difference {
    /// The path of the parameter, the role of the input or the name of the kind.
    pub fn field(&self) -> &str {
        match self {
            Self::Param { field, .. } | Self::Input { field, .. } | Self::Version { field, .. } => field,
        }
    }

    /// What it was, for people.
    pub fn was(&self) -> String {
        match self {
            Self::Param { old, .. } => value(old.as_ref()),
            Self::Input { old, .. } => digests(old),
            Self::Version { old, .. } => format!("v{old}"),
        }
    }

    /// What it is, for people.
    pub fn is(&self) -> String {
        match self {
            Self::Param { new, .. } => value(new.as_ref()),
            Self::Input { new, .. } => digests(new),
            Self::Version { new, .. } => format!("v{new}"),
        }
    }
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(absent)".to_owned() };
    match value.as_f64().filter(|_| value.is_f64()) {
        // To 15 digits, those that reading keeps.
        Some(float) => {
            format!("{float:.14e}").parse::<f64>().map_or_else(|_| canonical(value), |float| format!("{float:?}"))
        }
        None => canonical(value),
    }
}

fn digests(digests: &[Digest]) -> String {
    match digests {
        [] => "(absent)".to_owned(),
        [one] => one.short(),
        [first, ..] => format!("{} and {} more", first.short(), digests.len() - 1),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Param { .. } => "",
            Self::Input { .. } => "input ",
            Self::Version { .. } => "version of ",
        };
        write!(f, "{what}{}: {} -> {}", self.field(), self.was(), self.is())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recipe(params: Value) -> Recipe {
        Recipe::new("tune", 3, params, vec![("data".to_owned(), Digest::of(b"rows"))])
    }

    #[test]
    fn the_canonical_form_sorts_keys_and_frames_fields() {
        let text = recipe(json!({"b": {"y": 0.3, "x": 1e-5}, "a": ["p,q", "r"], "é\"": null})).canonical();
        let digest = Digest::of(b"rows");
        assert_eq!(
            text,
            format!(
                r#"{{"inputs":[["data","{digest}"]],"kind":"tune","params":{{"a":["p,q","r"],"b":{{"x":1e-5,"y":0.3}},"é\"":null}},"schema":1,"version":3}}"#
            )
        );
    }

    /// Pinned: a change here means that every cache in the world is stale.
    #[test]
    fn keys_are_what_they_were() {
        let key = recipe(json!({"learning_rate": 0.3, "steps": 100, "seed": 0})).key();
        assert_eq!(key.to_string(), "c251bc04834e94fd222a8444405de42dc37e863e6a0ace46fae663275c5a6e19");
    }

    #[test]
    fn each_part_of_a_recipe_changes_its_key() {
        let base = recipe(json!({"rate": 0.3, "seed": 0}));
        let mut others = vec![
            recipe(json!({"rate": 0.4, "seed": 0})),
            recipe(json!({"rate": 0.3, "seed": 1})),
            recipe(json!({"rate": 0.3})),
            Recipe { kind: "embed".to_owned(), ..base.clone() },
            Recipe { version: 4, ..base.clone() },
            Recipe { schema: 2, ..base.clone() },
            Recipe { inputs: vec![], ..base.clone() },
            Recipe { inputs: vec![("data".to_owned(), Digest::of(b"other"))], ..base.clone() },
            Recipe { inputs: vec![("role".to_owned(), Digest::of(b"rows"))], ..base.clone() },
        ];
        others.push(base);
        let mut keys: Vec<_> = others.iter().map(Recipe::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), others.len());
    }

    #[test]
    fn the_order_of_keys_does_not_change_the_key() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"d": 3, "c": 2}, "a": 1}"#).unwrap();
        assert_eq!(recipe(one).key(), recipe(other).key());
    }

    #[test]
    fn differences_name_field_old_and_new() {
        let old = recipe(json!({"optimizer": {"rate": 0.3, "gone": true}, "tasks": [1, 2]}));
        let mut new = recipe(json!({"optimizer": {"rate": 0.5}, "tasks": [1, 2]}));
        new.version = 4;
        new.inputs = vec![("data".to_owned(), Digest::of(b"other"))];
        let lines: Vec<_> = new.differences(&old).iter().map(ToString::to_string).collect();
        let (was, is) = (Digest::of(b"rows").short(), Digest::of(b"other").short());
        assert_eq!(
            lines,
            [
                "version of tune: v3 -> v4".to_owned(),
                "optimizer.gone: true -> (absent)".to_owned(),
                "optimizer.rate: 0.3 -> 0.5".to_owned(),
                format!("input data: {was} -> {is}"),
            ]
        );
        assert!(new.differences(&new).is_empty());
    }

    #[test]
    fn a_float_read_back_from_an_entry_is_no_difference() {
        // Values of f32 parameters have 17 digits; 1e-30 is one that even a second reading changes again.
        let from_f32 = (0..2000_u16).map(|i| f64::from(1.0_f32 / (f32::from(i) * 0.37 + 1.1)));
        for rate in from_f32.chain([1e-30, 1e-5, 0.3, -0.0, 1e300]) {
            let new = recipe(json!({ "rate": rate, "rates": [rate] }));
            let stored: Recipe = serde_json::from_str(&new.canonical()).unwrap();
            assert_eq!(new.differences(&stored), []);
        }
        let (old, new) = (recipe(json!({"rate": 9.999999999999999e-31})), recipe(json!({"rate": 2e-30})));
        assert_eq!(new.differences(&old)[0].to_string(), "rate: 1e-30 -> 2e-30");
    }

    #[test]
    fn a_recipe_read_from_its_own_text_does_not_differ() {
        let new = Recipe::new("tune", 1, json!({"epsilon": 1e-30, "rate": 0.3}), vec![]);
        let old: Recipe = serde_json::from_str(&new.canonical()).unwrap();
        assert_eq!(new.differences(&old), vec![]);
        assert_eq!(old.differences(&new), vec![]);
        let other = Recipe::new("tune", 1, json!({"epsilon": 1e-29, "rate": 0.3}), vec![]);
        assert_eq!(other.differences(&old).len(), 1);
    }
}
