//! JSON Schema of a manifest, for editors.

use crate::engine::resources::Resources;
use crate::engine::stage::Kind;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// The schema of manifests over these kinds. Wherever a value is expected, `${…}` may stand.
pub fn schema(kinds: &[Kind]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let stages: Vec<Value> = kinds.iter().map(|kind| stage(*kind, &mut generator)).collect();
    let of_kind = json!({"type": "object", "required": ["kind"]});
    let mut definitions = Value::Object(generator.take_definitions(true).into_iter().collect());
    allow_variables(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline of spot",
        "type": "object",
        "required": ["version", "name"],
        "additionalProperties": false,
        "properties": {
            "version": {"const": 1, "description": "Version of the grammar."},
            "name": {"type": "string", "pattern": "^[a-z0-9_-]+$", "description": "Name of the pipeline."},
            "extends": {
                "type": "string",
                "description": "A manifest that this one is laid over: its path from the folder of this file, in the project.",
            },
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
            "stages": {
                "type": ["object", "null"],
                "additionalProperties": {"if": of_kind, "then": {"oneOf": stages}, "else": partial()},
            },
        },
        // A manifest that extends another may leave out all that it does not change.
        "if": {"required": ["extends"]},
        "else": {
            "required": ["stages"],
            "properties": {
                "stages": {
                    "additionalProperties": {"type": "object", "anyOf": [{"required": ["kind"]}, {"required": [LIKE]}]},
                },
            },
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
    schema["properties"]["kind"] = json!({"const": kind.name});
    schema["properties"]["matrix"] = matrix(&["array", "string"]);
    schema["properties"]["resources"] = generator.subschema_for::<Resources>().to_value();
    schema["properties"][LIKE] = like();
    // What a stage is like says what it does not.
    let required = schema["required"].take();
    schema["required"] = json!(["kind"]);
    if required.is_array() {
        schema["anyOf"] = json!([{"required": required}, {"required": [LIKE]}]);
    }
    schema
}

/// The field that names the stage from which another starts.
const LIKE: &str = "like";

/// A stage that changes one of another manifest, or is like another; null removes.
fn partial() -> Value {
    let mut matrix = matrix(&["array", "string", "null"]);
    matrix["type"] = json!(["object", "null"]);
    let properties = json!({LIKE: like(), "matrix": matrix, "resources": {"type": ["object", "null"]}});
    json!({"type": ["object", "null"], "description": "Changes of a stage.", "properties": properties})
}

fn like() -> Value {
    json!({"type": "string", "description": "A stage to start from: this one says what differs."})
}

fn matrix(values: &[&str]) -> Value {
    let values = json!({"type": values, "items": {"type": ["string", "number", "boolean"]}});
    let description = "A job for each combination of values; the first key is the outermost.";
    json!({"type": "object", "description": description, "additionalProperties": values})
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
