//! Just enough of JSON Schema to hold what the program prints to the schemas it prints: type, const, enum, required,
//! properties, items, anyOf, allOf and `$ref`. What else stands in a schema is passed over.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

/// Every schema the program prints, by name.
pub fn all() -> &'static BTreeMap<&'static str, Value> {
    static ALL: OnceLock<BTreeMap<&'static str, Value>> = OnceLock::new();
    ALL.get_or_init(|| {
        let schemas = mailhaul::commands::schema::schemas().iter();
        schemas.map(|(name, _)| (*name, serde_json::from_str(&mailhaul::commands::schema::text(name).unwrap()).unwrap())).collect()
    })
}

/// The schema for a document, by what its `schema` member says; `None` where no schema is known by that name.
pub fn of(document: &Value) -> Option<&'static Value> {
    let name = document.get("schema")?.as_str()?.strip_prefix("mailhaul.")?.split('/').next()?;
    all().get(name.strip_suffix("-change").unwrap_or(name))
}

/// What is wrong with a value.
pub fn faults(value: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(value, schema, schema, "", &mut found);
    found
}

fn check(value: &Value, schema: &Value, root: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        match root.pointer(reference.trim_start_matches('#')) {
            Some(target) => check(value, target, root, at, found),
            None => found.push(format!("{at}: {reference} is missing")),
        }
    }
    if let Some(wanted) = schema.get("type") {
        let names: Vec<&str> =
            wanted.as_array().map_or_else(|| vec![wanted.as_str().unwrap()], |all| all.iter().filter_map(Value::as_str).collect());
        if !names.iter().any(|name| is(value, name)) {
            found.push(format!("{at}: {value} is none of {names:?}"));
        }
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        found.push(format!("{at}: {value} is not {}", schema["const"]));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value)) {
        found.push(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            found.push(format!("{at}/{name} is missing"));
        }
    }
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(member) = value.get(name) {
            check(member, schema, root, &format!("{at}/{name}"), found);
        }
    }
    if let (Some(schema), Some(items)) = (schema.get("items"), value.as_array()) {
        for (index, item) in items.iter().enumerate() {
            check(item, schema, root, &format!("{at}/{index}"), found);
        }
    }
    for schema in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        check(value, schema, root, at, found);
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let all: Vec<Vec<String>> = any
            .iter()
            .map(|schema| {
                let mut found = Vec::new();
                check(value, schema, root, at, &mut found);
                found
            })
            .collect();
        if all.iter().all(|found| !found.is_empty()) {
            // The one that fits best says most.
            found.extend(all.into_iter().min_by_key(Vec::len).unwrap_or_default());
        }
    }
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// Insists that every document and every JSON error of a run is what the schemas promise. With `--fields` a row holds only
/// what was asked for.
#[track_caller]
pub fn hold(args: &[String], stdout: &[u8], stderr: &str) {
    if args.iter().any(|arg| arg.starts_with("--fields")) {
        return;
    }
    if args.iter().any(|arg| arg == "jsonl" || arg == "-ojsonl" || arg == "--output=jsonl") {
        hold_rows(args, &String::from_utf8_lossy(stdout));
    } else if let Ok(document) = serde_json::from_slice::<Value>(stdout)
        && let Some(schema) = of(&document)
    {
        let faults = faults(&document, schema);
        assert!(faults.is_empty(), "{args:?}: {document} breaks its schema: {faults:#?}");
    }
    for line in stderr.lines().filter(|line| line.starts_with('{')) {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let name = if value.get("event").is_some() { "progress" } else { "error" };
        let faults = faults(&value, &all()[name]);
        assert!(faults.is_empty(), "{args:?}: {line} breaks the schema of {name}: {faults:#?}");
    }
}

/// Insists that each line is a row as the documents of that command hold them.
#[track_caller]
fn hold_rows(args: &[String], lines: &str) {
    let Some(schema) = args.first().and_then(|name| all().get(name.as_str())) else { return };
    let documents = schema.get("anyOf").and_then(Value::as_array).map_or_else(|| vec![schema], |all| all.iter().collect());
    let mut rows = Vec::new();
    for document in documents {
        let document = document.get("$ref").and_then(Value::as_str).and_then(|name| schema.pointer(name.trim_start_matches('#')));
        for name in ["messages", "attachments", "rows", "folders"] {
            let Some(items) = document.and_then(|document| document.pointer(&format!("/properties/{name}/items"))) else { continue };
            // Counts by folder are no rows where there are messages.
            if name != "folders" || rows.is_empty() || args[0] == "folders" {
                rows.push(items);
            }
        }
    }
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{args:?}: {error}: {line}"));
        // The sums behind the rows are the document without them.
        if let Some(document) = of(&row) {
            let mut row = row.clone();
            row["rows"] = Value::Array(Vec::new());
            let faults = faults(&row, document);
            assert!(faults.is_empty(), "{args:?}: {line} breaks its schema: {faults:#?}");
            continue;
        }
        let of = |items: &&Value| {
            let mut found = Vec::new();
            check(&row, items, schema, "", &mut found);
            found
        };
        let best = rows.iter().map(of).min_by_key(Vec::len).unwrap_or_default();
        assert!(best.is_empty(), "{args:?}: {row} is no row by the schema: {best:#?}");
    }
}
