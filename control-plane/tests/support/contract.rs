//! The OpenAPI document held against real answers: every answer that a test sees is one that the document tells of.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

/// The document, and what was seen of it.
pub(crate) struct Contract {
    document: Value,
    seen: Mutex<BTreeSet<String>>,
}

impl Contract {
    pub(crate) fn new(document: Value) -> Self {
        Self { document, seen: Mutex::default() }
    }

    /// All operations, as `GET /healthz`.
    pub(crate) fn operations(&self) -> BTreeSet<String> {
        let mut operations = BTreeSet::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                operations.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        operations
    }

    /// Operations that were seen to answer with 2xx.
    pub(crate) fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Fails where the document does not tell of this answer.
    pub(crate) fn check(&self, method: &str, path: &str, status: u16, kind: &str, content: &[u8]) {
        let path = path.split('?').next().unwrap();
        let (template, item) = self.item(path).unwrap_or_else(|| panic!("the document has no {path}"));
        let operation = &item[method.to_lowercase()];
        assert!(operation.is_object(), "the document has no {method} {template}");
        let response = &operation["responses"][status.to_string()];
        assert!(
            response.is_object(),
            "the document does not tell that {method} {template} answers with {status}"
        );
        if (200..300).contains(&status) {
            self.seen.lock().unwrap().insert(format!("{method} {template}"));
        }
        let Some(declared) = response["content"].as_object() else {
            assert!(
                content.is_empty(),
                "{method} {template} {status} has a content that the document does not tell of"
            );
            return;
        };
        let kind = kind.split(';').next().unwrap();
        let schema = &declared.get(kind).unwrap_or_else(|| panic!("{method} {template} answers with {kind}"))
            ["schema"];
        if kind == "application/json" {
            let value: Value = serde_json::from_slice(content).unwrap();
            if let Err(why) = self.conforms(&value, schema, "") {
                panic!("{method} {template} {status}: {why}\n{value:#}");
            }
        }
    }

    /// The item of a path: one without parameters where there is one.
    fn item(&self, path: &str) -> Option<(&str, &Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        if let Some((template, item)) = paths.get_key_value(path) {
            return Some((template, item));
        }
        paths
            .iter()
            .find(|(template, _)| matches(template, path))
            .map(|(template, item)| (template.as_str(), item))
    }

    fn conforms(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.strip_prefix("#/components/schemas/").ok_or(format!("{at}: {name}"))?;
            let target = &self.document["components"]["schemas"][name];
            assert!(target.is_object(), "the document has no schema {name}");
            return self.conforms(value, target, at);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let fitting = choices.iter().filter(|choice| self.conforms(value, choice, at).is_ok()).count();
            return if fitting == 1 {
                Ok(())
            } else {
                Err(format!("{at}: {fitting} of {} forms fit {value}", choices.len()))
            };
        }
        for keyword in ["allOf", "anyOf", "not"] {
            assert!(schema[keyword].is_null(), "{at}: {keyword} is not looked at here: teach it");
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Err(format!("{at}: {value} is none of {words:?}"));
        }
        let kinds = match &schema["type"] {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return Ok(()),
        };
        let kind = kind_of(value);
        let fits = kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number"));
        if !fits {
            return Err(format!("{at}: {kind}, not {kinds:?}"));
        }
        if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
            && number < least
        {
            return Err(format!("{at}: {number} is below {least}"));
        }
        match value {
            Value::Object(_) => self.object_conforms(value, schema, at),
            Value::Array(items) => items.iter().enumerate().try_for_each(|(place, item)| {
                self.conforms(item, &schema["items"], &format!("{at}/{place}"))
            }),
            _ => Ok(()),
        }
    }

    fn object_conforms(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value[required].is_null()
                && !value.as_object().is_some_and(|object| object.contains_key(required))
            {
                return Err(format!("{at}: {required} is missing"));
            }
        }
        // An object without properties is one of which the document tells nothing.
        let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
        for (name, part) in value.as_object().into_iter().flatten() {
            let schema = properties.get(name).ok_or(format!("{at}: the document does not tell of {name}"))?;
            self.conforms(part, schema, &format!("{at}/{name}"))?;
        }
        Ok(())
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(path).all(|(part, text)| part.starts_with('{') || *part == text)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
