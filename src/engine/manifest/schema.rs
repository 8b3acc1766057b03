//! JSON Schema of a manifest, for editors.

use crate::engine::stage::Kind;
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
    if schema.get("properties").is_none() {
        schema["properties"] = json!({});
    }
    let values = json!({"type": ["array", "string"], "items": {"type": ["string", "number", "boolean"]}});
    let matrix = "A job for each combination of values; the first key is the outermost.";
    schema["properties"]["kind"] = json!({"const": kind.name});
    schema["properties"]["matrix"] = json!({"type": "object", "description": matrix, "additionalProperties": values});
    match schema.get_mut("required").and_then(Value::as_array_mut) {
        Some(required) => required.push(json!("kind")),
        None => schema["required"] = json!(["kind"]),
    }
    schema
}

/// Lets a text with `${` stand wherever a value stands: for a property, an item of a list, a value of a mapping.
fn allow_variables(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => properties.values_mut().for_each(or_variable),
                    ("items" | "additionalProperties", value @ Value::Object(_)) => or_variable(value),
                    ("prefixItems", Value::Array(items)) => items.iter_mut().for_each(or_variable),
                    ("const" | "enum" | "default" | "examples" | "description", _) => {}
                    (_, value) => allow_variables(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_variables),
        _ => {}
    }
}

fn or_variable(schema: &mut Value) {
    allow_variables(schema);
    let own = schema.take();
    *schema = json!({"anyOf": [own, {"type": "string", "pattern": "\\$\\{"}]});
    // Editors show the description of the outermost schema.
    if let Some(description) = schema["anyOf"][0].get("description").cloned() {
        schema["description"] = description;
    }
}
