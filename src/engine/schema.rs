//! JSON Schema of a manifest, for editors.

use super::stage::Kind;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// The schema of manifests over these kinds. Wherever a value is expected, `${…}` may stand.
pub fn schema(kinds: &[Kind]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let stages: Vec<Value> = kinds.iter().map(|kind| stage(*kind, &mut generator)).collect();
    let mut definitions = Value::Object(generator.take_definitions(true).into_iter().collect());
    allow_variables(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline of spot",
        "type": "object",
        "required": ["version", "name", "stages"],
        "additionalProperties": false,
        "properties": {
            "version": {"const": 1, "description": "Version of the grammar."},
            "name": {"type": "string", "pattern": "^[a-z0-9_-]+$", "description": "Name of the pipeline."},
            "environment": {
                "type": "object",
                "description": "Environment variables that may be used, with their defaults; null for required ones.",
                "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            },
            "profiles": {
                "type": "object",
                "description": "Changes to the rest of the manifest; the first is the default.",
                "additionalProperties": {
                    "type": ["object", "null"],
                    "additionalProperties": false,
                    "properties": {
                        "like": {"type": "string", "description": "A profile to start from."},
                        "environment": {"type": "object"},
                        "vars": {"type": "object"},
                        "stages": {"type": "object"},
                    },
                },
            },
            "vars": {"type": "object", "description": "Values for ${name}."},
            "stages": {"type": "object", "additionalProperties": {"oneOf": stages}},
        },
        "$defs": definitions,
    })
}

fn stage(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let reference = (kind.schema)(generator);
    let name =
        reference.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let mut schema = generator.definitions().get(name).cloned().unwrap_or_default();
    allow_variables(&mut schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("kind".to_owned(), json!({"const": kind.name}));
        let matrix = "A job for each combination of values.";
        properties.insert("matrix".to_owned(), json!({"type": "object", "description": matrix}));
    }
    match schema.get_mut("required").and_then(Value::as_array_mut) {
        Some(required) => required.push(json!("kind")),
        None => schema["required"] = json!(["kind"]),
    }
    schema
}

/// Lets a text with `${` stand for every property that is no text.
fn allow_variables(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                for property in properties.values_mut() {
                    allow_variables(property);
                    let own = property.take();
                    *property = json!({"anyOf": [own, {"type": "string", "pattern": "\\$\\{"}]});
                }
            }
            for (key, value) in map.iter_mut() {
                if key != "properties" {
                    allow_variables(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_variables),
        _ => {}
    }
}
