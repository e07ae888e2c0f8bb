//! The archive, as its owner uses it: queries by Athena, and replay.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hyper::Method;
use serde_json::{Value, json};

use crate::stack::Stack;

/// MiniStack reads an object for each row.
const DEADLINE_AFTER: Duration = Duration::from_secs(60);

/// What a query answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<String>,
    /// The rows; `None` is null.
    pub rows: Vec<Vec<Option<String>>>,
    /// Where Athena keeps them as CSV, for replay.
    pub url: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.columns.iter().map(String::as_str).collect();
        let rows =
            self.rows.iter().map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("-")).collect());
        let lines: Vec<Vec<&str>> = [head].into_iter().chain(rows).collect();
        for (place, line) in lines.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            for (column, cell) in line.iter().enumerate() {
                let width = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.len()).max();
                write!(f, "  {cell:width$}", width = width.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

impl Stack {
    /// Runs a query in the stack's workgroup.
    pub async fn query(&self, sql: &str) -> Result<Table> {
        let query = json!({
            "QueryString": sql,
            "WorkGroup": self.outputs.archive_workgroup,
            "QueryExecutionContext": {"Database": self.outputs.archive_database},
        });
        let id = self.athena("StartQueryExecution", query).await?["QueryExecutionId"].take();
        let id = json!({"QueryExecutionId": id});
        let deadline = Instant::now() + DEADLINE_AFTER;
        let url = loop {
            let execution = self.athena("GetQueryExecution", id.clone()).await?["QueryExecution"].take();
            let status = &execution["Status"];
            match status["State"].as_str() {
                Some("SUCCEEDED") => break execution["ResultConfiguration"]["OutputLocation"].clone(),
                Some("QUEUED" | "RUNNING") if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => bail!("Athena did not answer: {status}\n{sql}"),
            }
        };
        let answer = self.athena("GetQueryResults", id).await?;
        ensure!(answer["NextToken"].is_null(), "more rows than one page holds");
        let rows = answer["ResultSet"]["Rows"].as_array().context("Athena answered without rows")?;
        let mut rows = rows.iter().map(|row| {
            let cells = row["Data"].as_array().into_iter().flatten();
            cells.map(|cell| cell["VarCharValue"].as_str().map(str::to_owned)).collect()
        });
        let names: Vec<Option<String>> = rows.next().context("Athena answered without columns")?;
        let columns = names.into_iter().flatten().collect();
        let url = url.as_str().context("Athena does not say where the result is")?.to_owned();
        Ok(Table { columns, rows: rows.collect(), url })
    }

    /// The text of a query that the stack keeps in its workgroup.
    pub async fn named_query(&self, name: &str) -> Result<String> {
        let workgroup = json!({"WorkGroup": self.outputs.archive_workgroup});
        let ids = self.athena("ListNamedQueries", workgroup).await?["NamedQueryIds"].take();
        let queries = self.athena("BatchGetNamedQuery", json!({"NamedQueryIds": ids})).await?;
        let mut queries = queries["NamedQueries"].as_array().into_iter().flatten();
        let query = queries.find(|query| query["Name"] == name);
        let text = query.and_then(|query| query["QueryString"].as_str());
        Ok(text.with_context(|| format!("the stack has no query {name}"))?.to_owned())
    }

    /// Waits until the archive holds at least so many events, and gives how many it holds.
    pub async fn archived(&self, count: usize, wait: Duration) -> Result<usize> {
        let deadline = Instant::now() + wait;
        loop {
            let table = self.query("select count(distinct id) from data").await?;
            let archived = table.rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok());
            let archived = archived.context("the archive cannot be counted")?;
            if archived >= count || Instant::now() > deadline {
                return Ok(archived);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Invokes replay, and gives its report.
    pub async fn replay(&self, order: &Value) -> Result<Value> {
        let path = format!("/2015-03-31/functions/{}/invocations", self.outputs.replay_function);
        let report = self.ministack.cloud.lambda(Method::POST, &path, order.to_string().into()).await?;
        ensure!(report["errorMessage"].is_null(), "replay failed: {report}");
        Ok(report)
    }

    async fn athena(&self, action: &str, query: Value) -> Result<Value> {
        self.json("athena", &format!("AmazonAthena.{action}"), query).await
    }
}
