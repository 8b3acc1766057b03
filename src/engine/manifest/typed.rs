//! From values with places to the types of a kind, by serde. A mistake says where it is and what was expected there, as data.

use super::node::{Key, Node, Value};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer};
use serde::de::{DeserializeSeed, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor};
use std::fmt;

/// A value that is not what its type asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is; the innermost step last.
    pub path: Vec<Step>,
    /// What is wrong.
    pub what: What,
}

/// A step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list.
    Item(usize),
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is of another type or out of range; what was expected, in words.
    Expected(String),
    /// A mapping has a key that is not known.
    UnknownKey {
        /// As written.
        written: String,
        /// All that are known.
        known: &'static [&'static str],
    },
    /// A choice, a word or the one key of a mapping, is not known.
    UnknownChoice {
        /// As written.
        written: String,
        /// All that are known.
        known: &'static [&'static str],
    },
    /// A mapping lacks a key that has no default.
    Missing(&'static str),
    /// A choice with settings is a mapping with one key.
    NotOneKey,
    /// What the type itself says.
    Other(String),
}

/// A value as a type.
///
/// # Errors
/// The first mistake.
pub fn read<'n, T: Deserialize<'n>>(node: &'n Node) -> Result<T, Mistake> {
    T::deserialize(Typed(node))
}

/// The path as people write it: `init.prompts[1]`.
pub(super) fn path_in_words(path: &[Step]) -> String {
    let mut words = String::new();
    for step in path {
        match step {
            Step::Key(key) if words.is_empty() => words.push_str(key),
            Step::Key(key) => words += &format!(".{key}"),
            Step::Item(item) => words += &format!("[{item}]"),
        }
    }
    words
}

impl Mistake {
    fn new(what: What) -> Self {
        Self { path: Vec::new(), what }
    }

    fn expected(words: impl Into<String>) -> Self {
        Self::new(What::Expected(words.into()))
    }

    fn within(mut self, step: Step) -> Self {
        self.path.insert(0, step);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", path_in_words(&self.path), self.what)
    }
}

impl std::error::Error for Mistake {}

impl Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn unknown_variant(written: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownChoice { written: written.to_owned(), known })
    }

    fn unknown_field(written: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { written: written.to_owned(), known })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(What::Missing(name))
    }
}

/// A value for serde.
#[derive(Clone, Copy)]
struct Typed<'n>(&'n Node);

/// Reads whole numbers that a type can hold.
macro_rules! whole {
    ($($method:ident $type:ty, $visit:ident, $words:literal;)*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
            let range = || format!(concat!($words, " from {} to {}"), <$type>::MIN, <$type>::MAX);
            match self.0.value {
                Value::Int(number) => match <$type>::try_from(number) {
                    Ok(number) => visitor.$visit(number.into()),
                    Err(_) if number < 0 && <$type>::MIN == 0 => Err(Mistake::expected(concat!($words, ", 0 or more"))),
                    Err(_) => Err(Mistake::expected(range())),
                },
                _ if <$type>::MIN == 0 => Err(Mistake::expected(concat!($words, ", 0 or more"))),
                _ => Err(Mistake::expected($words)),
            }
        }
    )*};
}

impl<'n> Deserializer<'n> for Typed<'n> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
    }

    whole! {
        deserialize_u8 u8, visit_u64, "a whole number";
        deserialize_u16 u16, visit_u64, "a whole number";
        deserialize_u32 u32, visit_u64, "a whole number";
        deserialize_u64 u64, visit_u64, "a whole number";
        deserialize_i8 i8, visit_i64, "a whole number";
        deserialize_i16 i16, visit_i64, "a whole number";
        deserialize_i32 i32, visit_i64, "a whole number";
        deserialize_i64 i64, visit_i64, "a whole number";
    }

    fn deserialize_f32<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.0.value {
            Value::Int(_) | Value::Float(_) => self.deserialize_any(visitor),
            _ => Err(Mistake::expected("a number")),
        }
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.0.value {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(Mistake::expected("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let text = self.0.text().ok_or_else(|| Mistake::expected("a text"))?;
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let one = self.0.text().filter(|text| text.chars().count() == 1);
        visitor.visit_borrowed_str(one.ok_or_else(|| Mistake::expected("one character"))?)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        if self.0.value == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        if self.0.value == Value::Null { visitor.visit_unit() } else { Err(Mistake::expected("nothing")) }
    }

    fn deserialize_unit_struct<V: Visitor<'n>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    /// A key with nothing behind it is an empty list.
    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.0.value {
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Null => visitor.visit_seq(Items { items: &[], next: 0 }),
            _ => Err(Mistake::expected("a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'n>>(self, size: usize, visitor: V) -> Result<V::Value, Mistake> {
        match &self.0.value {
            Value::List(items) if items.len() == size => visitor.visit_seq(Items { items, next: 0 }),
            _ => Err(Mistake::expected(format!("a list of {size}"))),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        size: usize,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.deserialize_tuple(size, visitor)
    }

    /// A key with nothing behind it is an empty mapping.
    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.0.value {
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
            Value::Null => visitor.visit_map(Entries { entries: &[], next: 0 }),
            _ => Err(Mistake::expected("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.deserialize_map(visitor)
    }

    /// A choice: a word, or with settings a mapping with the word as its one key.
    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match &self.0.value {
            Value::Text(word) => visitor.visit_enum(Choice { word, settings: None }),
            Value::Map(entries) => match entries.as_slice() {
                [(key, settings)] => visitor.visit_enum(Choice { word: &key.text, settings: Some(settings) }),
                _ => Err(Mistake::new(What::NotOneKey)),
            },
            _ => Err(Mistake::expected("a word or a mapping with one key")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { <V: Visitor<'n>> i128 u128 bytes byte_buf identifier }
}

struct Items<'n> {
    items: &'n [Node],
    next: usize,
}

impl<'n> SeqAccess<'n> for Items<'n> {
    type Error = Mistake;

    fn next_element_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<Option<S::Value>, Mistake> {
        let at = self.next;
        let Some(item) = self.items.get(at) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(Typed(item)).map(Some).map_err(|mistake| mistake.within(Step::Item(at)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Entries<'n> {
    entries: &'n [(Key, Node)],
    next: usize,
}

impl<'n> MapAccess<'n> for Entries<'n> {
    type Error = Mistake;

    fn next_key_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<Option<S::Value>, Mistake> {
        let Some((key, _)) = self.entries.get(self.next) else { return Ok(None) };
        self.next += 1;
        let key: StrDeserializer<'_, Mistake> = key.text.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<S::Value, Mistake> {
        let (key, node) = &self.entries[self.next - 1];
        seed.deserialize(Typed(node)).map_err(|mistake| mistake.within(Step::Key(key.text.clone())))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len() - self.next)
    }
}

/// A word, and what stands behind it if it is a key.
struct Choice<'n> {
    word: &'n str,
    settings: Option<&'n Node>,
}

impl<'n> EnumAccess<'n> for Choice<'n> {
    type Error = Mistake;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'n>>(self, seed: S) -> Result<(S::Value, Self), Mistake> {
        let word: StrDeserializer<'_, Mistake> = self.word.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'n> Choice<'n> {
    fn settings<T>(self, read: impl FnOnce(Typed<'n>) -> Result<T, Mistake>) -> Result<T, Mistake> {
        let none = || Mistake::expected(format!("a mapping with the key `{}` and what belongs to it", self.word));
        let settings = self.settings.ok_or_else(none)?;
        read(Typed(settings)).map_err(|mistake| mistake.within(Step::Key(self.word.to_owned())))
    }
}

impl<'n> VariantAccess<'n> for Choice<'n> {
    type Error = Mistake;

    fn unit_variant(self) -> Result<(), Mistake> {
        match self.settings {
            None => Ok(()),
            Some(_) => self.settings(<()>::deserialize),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'n>>(self, seed: S) -> Result<S::Value, Mistake> {
        self.settings(|settings| seed.deserialize(settings))
    }

    fn tuple_variant<V: Visitor<'n>>(self, size: usize, visitor: V) -> Result<V::Value, Mistake> {
        self.settings(|settings| settings.deserialize_tuple(size, visitor))
    }

    fn struct_variant<V: Visitor<'n>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Mistake> {
        self.settings(|settings| settings.deserialize_struct("", fields, visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::parse;
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    enum Shape {
        Dot,
        Line(f32),
        Box { sides: (u8, i8) },
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Drawing {
        shapes: Vec<Shape>,
        #[serde(default)]
        names: BTreeMap<String, char>,
        scale: Option<f64>,
    }

    fn mistake(text: &str) -> (String, What) {
        let node = parse(text).unwrap();
        let Mistake { path, what } = read::<Drawing>(&node).unwrap_err();
        (path_in_words(&path), what)
    }

    #[test]
    fn what_a_manifest_says_becomes_what_a_type_asks_for() {
        let node = parse("{shapes: [dot, line: 3, box: {sides: [255, -128]}], names: {a: b}, scale: ~}").unwrap();
        let shapes = vec![Shape::Dot, Shape::Line(3.0), Shape::Box { sides: (255, -128) }];
        let names = BTreeMap::from([("a".to_owned(), 'b')]);
        assert_eq!(read::<Drawing>(&node).unwrap(), Drawing { shapes, names, scale: None });
        let empty = parse("shapes:\nnames:\nscale: 2").unwrap();
        let expected = Drawing { shapes: Vec::new(), names: BTreeMap::new(), scale: Some(2.0) };
        assert_eq!(read::<Drawing>(&empty).unwrap(), expected);
    }

    #[test]
    fn a_mistake_says_where_it_is_and_what_was_expected_there() {
        let expected = |words: &str| What::Expected(words.to_owned());
        let at = |path: &str, what| (path.to_owned(), what);
        let boxed = |sides: &str| mistake(&format!("shapes: [dot, box: {{sides: {sides}}}]"));
        assert_eq!(mistake("shapes: 3"), at("shapes", expected("a list")));
        assert_eq!(mistake("{}"), at("", What::Missing("shapes")));
        assert_eq!(boxed("[-1, 0]"), at("shapes[1].box.sides[0]", expected("a whole number, 0 or more")));
        assert_eq!(boxed("[256, 0]"), at("shapes[1].box.sides[0]", expected("a whole number from 0 to 255")));
        assert_eq!(boxed("[1, 128]"), at("shapes[1].box.sides[1]", expected("a whole number from -128 to 127")));
        assert_eq!(boxed("[1]"), at("shapes[1].box.sides", expected("a list of 2")));
        assert_eq!(mistake("shapes: [line: x]"), at("shapes[0].line", expected("a number")));
        let line = expected("a mapping with the key `line` and what belongs to it");
        assert_eq!(mistake("shapes: [line]"), at("shapes[0]", line));
        assert_eq!(mistake("shapes: [dot: 1]"), at("shapes[0].dot", expected("nothing")));
        assert_eq!(mistake("shapes: [{dot: , line: 1}]"), at("shapes[0]", What::NotOneKey));
        assert_eq!(mistake("{shapes: [], names: {a.b: cd}}"), at("names.a.b", expected("one character")));
        let known = &["dot", "line", "box"];
        assert_eq!(
            mistake("shapes: [blob]"),
            at("shapes[0]", What::UnknownChoice { written: "blob".to_owned(), known })
        );
        let known = &["shapes", "names", "scale"];
        assert_eq!(mistake("shapse: []"), at("", What::UnknownKey { written: "shapse".to_owned(), known }));
    }
}
