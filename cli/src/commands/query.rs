//! `relay query`: the archive, by saved queries or SQL.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::Done;
use crate::cloud::{Cloud, Table};
use crate::console::{Console, printable, table};
use crate::error::Error;
use crate::model::state::Stack;
use crate::options::Query;

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Query) -> Done {
    let stack = cloud.describe().await?;
    let Some(query) = &options.query else {
        let saved = cloud.saved_queries(&stack).await?;
        let document: Vec<Value> = saved
            .iter()
            .map(|(name, description, sql)| json!({"name": name, "description": description, "sql": sql}))
            .collect();
        console.show(&document, || {
            let rows = saved.iter().map(|(name, description, _)| vec![name.clone(), description.clone()]);
            console.say(table(&["saved query", "what it gives"], rows));
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let sql = sql(cloud, &stack, query).await?;
    let found = console.wait("Athena runs the query", cloud.query(&stack, &sql)).await?;
    if options.csv {
        print_csv(console, &found);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Map<String, Value>> = found
        .rows
        .iter()
        .map(|row| found.columns.iter().cloned().zip(row.iter().map(|cell| json!(cell))).collect())
        .collect();
    console.show(&rows, || {
        let head: Vec<&str> = found.columns.iter().map(String::as_str).collect();
        let cells = found
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.clone().unwrap_or_else(|| "-".to_owned())).collect());
        console.say(table(&head, cells));
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The SQL of a saved query, or the text itself if it is none.
pub(super) async fn sql(cloud: &Cloud, stack: &Stack, query: &str) -> Result<String, Error> {
    let saved = cloud.saved_queries(stack).await?;
    if let Some((_, _, sql)) = saved.iter().find(|(name, _, _)| name == query) {
        return Ok(sql.clone());
    }
    if query.trim().contains(char::is_whitespace) {
        return Ok(query.to_owned());
    }
    let names: Vec<&str> = saved.iter().map(|(name, _, _)| name.as_str()).collect();
    Err(Error::NotFound(format!(
        "there is no saved query {}; there are: {}",
        printable(query),
        names.join(", ")
    )))
}

fn print_csv(console: Console, table: &Table) {
    let cell = |cell: &str| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    };
    console.say(table.columns.iter().map(|name| cell(name)).collect::<Vec<_>>().join(","));
    for row in &table.rows {
        console.say(
            row.iter().map(|value| cell(value.as_deref().unwrap_or_default())).collect::<Vec<_>>().join(","),
        );
    }
}
