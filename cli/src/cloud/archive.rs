//! The archive: Athena, the delivery streams, and the bucket.

use std::time::Duration;

use aws_sdk_athena::Client;
use aws_sdk_athena::types::{QueryExecutionContext, QueryExecutionState};
use aws_sdk_sqs::config::ProvideCredentials;
use flate2::read::MultiGzDecoder;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Cloud;
use crate::error::Error;
use crate::model::state::Stack;

/// Athena stops a query itself after half an hour.
const QUERY: Duration = Duration::from_secs(30 * 60);

/// What a query answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows; `None` is null.
    pub rows: Vec<Vec<Option<String>>>,
    /// Where Athena keeps them as CSV, for replay.
    pub result: String,
}

impl Table {
    /// The cell of a row under a column.
    pub fn cell<'t>(&'t self, row: &'t [Option<String>], column: &str) -> Option<&'t str> {
        let place = self.columns.iter().position(|name| name == column)?;
        row.get(place)?.as_deref()
    }
}

/// A stack without an archive cannot be asked.
fn needs_archive(stack: &Stack, output: &'static str) -> Result<String, Error> {
    stack.output(output).map(str::to_owned).ok_or_else(|| {
        Error::Refused(
            "the stack has no archive: `relay set Archive=true` switches it on, for events from then on"
                .to_owned(),
        )
    })
}

impl Cloud {
    /// Runs a query in the stack's workgroup, and waits for all of its rows.
    ///
    /// # Errors
    /// If the stack has no archive, or Athena refuses the query.
    pub async fn query(&self, stack: &Stack, sql: &str) -> Result<Table, Error> {
        let client = Client::new(&self.config);
        let context =
            QueryExecutionContext::builder().database(needs_archive(stack, "ArchiveDatabase")?).build();
        let started = client
            .start_query_execution()
            .query_string(sql)
            .work_group(needs_archive(stack, "ArchiveWorkgroup")?)
            .query_execution_context(context)
            .send()
            .await
            .map_err(Error::aws("Athena StartQueryExecution"))?;
        let id = started.query_execution_id().unwrap_or_default();
        let deadline = Instant::now() + QUERY;
        let result = loop {
            let call = client.get_query_execution().query_execution_id(id).send().await;
            let answer = call.map_err(Error::aws("Athena GetQueryExecution"))?;
            let execution = answer.query_execution();
            let status = execution.and_then(|execution| execution.status());
            match status.and_then(|status| status.state()) {
                Some(QueryExecutionState::Succeeded) => {
                    let place = execution.and_then(|execution| execution.result_configuration());
                    break place.and_then(|place| place.output_location()).unwrap_or_default().to_owned();
                }
                Some(QueryExecutionState::Queued | QueryExecutionState::Running)
                    if Instant::now() < deadline =>
                {
                    sleep(self.pause() / 2).await;
                }
                _ => {
                    let reason = status.and_then(|status| status.state_change_reason());
                    let reason = reason.unwrap_or("Athena gives no reason");
                    return Err(Error::Refused(format!("Athena did not run the query: {reason}")));
                }
            }
        };
        let mut rows = Vec::new();
        let mut token = None;
        loop {
            let call =
                client.get_query_results().query_execution_id(id).set_next_token(token.take()).send().await;
            let page = call.map_err(Error::aws("Athena GetQueryResults"))?;
            let of_page = page.result_set().map(|set| set.rows()).unwrap_or_default();
            rows.extend(of_page.iter().map(|row| {
                row.data().iter().map(|cell| cell.var_char_value().map(str::to_owned)).collect::<Vec<_>>()
            }));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        if rows.is_empty() {
            return Ok(Table { columns: Vec::new(), rows, result });
        }
        let columns = rows.remove(0).into_iter().map(Option::unwrap_or_default).collect();
        Ok(Table { columns, rows, result })
    }

    /// The queries that the stack keeps: name, description and SQL, by name.
    ///
    /// # Errors
    /// If the stack has no archive, or Athena does not answer.
    pub async fn saved_queries(&self, stack: &Stack) -> Result<Vec<(String, String, String)>, Error> {
        let client = Client::new(&self.config);
        let workgroup = needs_archive(stack, "ArchiveWorkgroup")?;
        let listed = client.list_named_queries().work_group(workgroup).send().await;
        let ids = listed.map_err(Error::aws("Athena ListNamedQueries"))?.named_query_ids.unwrap_or_default();
        let call = client.batch_get_named_query().set_named_query_ids(Some(ids)).send().await;
        let answer = call.map_err(Error::aws("Athena BatchGetNamedQuery"))?;
        let mut queries: Vec<(String, String, String)> = answer
            .named_queries()
            .iter()
            .map(|query| {
                let description = query.description().unwrap_or_default();
                (query.name().to_owned(), description.to_owned(), query.query_string().to_owned())
            })
            .collect();
        queries.sort();
        Ok(queries)
    }

    /// The state of a delivery stream: `ACTIVE`, or another.
    ///
    /// # Errors
    /// If Firehose does not answer.
    pub async fn stream_state(&self, name: &str) -> Result<String, Error> {
        let client = aws_sdk_firehose::Client::new(&self.config);
        let call = client.describe_delivery_stream().delivery_stream_name(name).send().await;
        let answer = call.map_err(Error::aws("Firehose DescribeDeliveryStream"))?;
        let description = answer.delivery_stream_description();
        Ok(description.map(|stream| stream.delivery_stream_status().as_str().to_owned()).unwrap_or_default())
    }

    /// The archive's bucket.
    ///
    /// # Errors
    /// If the stack has no archive, or there are no credentials.
    pub async fn bucket(&self, stack: &Stack) -> Result<Bucket, Error> {
        let bucket = needs_archive(stack, "ArchiveBucket")?;
        let provider = self.config.credentials_provider().ok_or_else(|| {
            Error::Refused("there are no credentials: give --profile, or the variables AWS_…".to_owned())
        })?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| Error::Refused(format!("the credentials cannot be had: {error}")))?;
        // Ring, as in the AWS SDK's client: one TLS stack in the binary. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket)
            .with_retry(RetryConfig {
                max_retries: 3,
                retry_timeout: Duration::from_secs(20),
                ..RetryConfig::default()
            })
            .with_region(&self.region)
            .with_access_key_id(credentials.access_key_id())
            .with_secret_access_key(credentials.secret_access_key());
        if let Some(token) = credentials.session_token() {
            builder = builder.with_token(token);
        }
        if let Some(local) = &self.local {
            builder = builder.with_endpoint(&local.aws).with_allow_http(true);
        }
        let store = builder.build().map_err(|error| of_s3("be reached", &error))?;
        Ok(Bucket { name: bucket, store })
    }
}

/// The archive's bucket.
#[derive(Debug)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    store: AmazonS3,
}

impl Bucket {
    /// The keys under a prefix, at most `limit`.
    ///
    /// # Errors
    /// If S3 does not answer.
    pub async fn keys(&self, prefix: &str, limit: usize) -> Result<Vec<String>, Error> {
        use futures_util::StreamExt;
        let listed = self.store.list(Some(&Path::from(prefix))).take(limit);
        let keys = listed.map_ok(|object| object.location.to_string()).try_collect().await;
        keys.map_err(|error| of_s3("be listed", &error))
    }

    /// An object's text, unpacked if it is packed.
    ///
    /// # Errors
    /// If S3 does not give it.
    pub async fn text(&self, key: &str) -> Result<String, Error> {
        use std::io::Read;
        let object = self.store.get(&Path::from(key)).await.map_err(|error| of_s3("be read", &error))?;
        let bytes = object.bytes().await.map_err(|error| of_s3("be read", &error))?;
        let mut text = String::new();
        let read = if bytes.starts_with(&[0x1f, 0x8b]) {
            MultiGzDecoder::new(&*bytes).read_to_string(&mut text)
        } else {
            (&*bytes).read_to_string(&mut text)
        };
        read.map_err(|error| Error::Io(format!("s3://{}/{key}", self.name), error))?;
        Ok(text)
    }

    /// Writes an object.
    ///
    /// # Errors
    /// If S3 does not take it.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let put = self.store.put(&Path::from(key), bytes.into()).await;
        put.map(drop).map_err(|error| of_s3("be written to", &error))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// If S3 does not answer.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let delete = self.store.delete(&Path::from(key)).await;
        delete.map_err(|error| of_s3("be deleted from", &error))
    }
}

fn of_s3(what: &str, error: &object_store::Error) -> Error {
    Error::Refused(format!("the archive's bucket cannot {what}: {error}"))
}
