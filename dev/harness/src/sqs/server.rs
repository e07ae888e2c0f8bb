//! What answers a request: the service it is for, and the fault it meets.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Notify;

use super::error::ApiError;
use super::fault::{Fault, Refusal};
use super::logs::{self, LogLine};
use super::model::ApiAnswer;
use super::queue::Queues;
use super::{firehose, protocol, ssm};
use crate::aws::{ACCOUNT, REGION, md5_hex};
use crate::clock::Clock;
use crate::http::{self, Handler, Request, Reset, Response};
use crate::sync::lock;
use crate::when::{Rules, Subject};

/// A request that was made.
#[derive(Clone, Debug)]
pub struct ApiCall {
    /// Such as `SendMessage`.
    pub operation: String,
    pub queue: Option<String>,
    /// How many entries the batch had; 1 of what is no batch.
    pub entries: usize,
    /// The request itself.
    pub request: Value,
    pub at: Instant,
    /// The number of the connection that it came on.
    pub connection: usize,
    /// What it was answered; none while it is not, or when it never was.
    pub status: Option<u16>,
}

pub(super) struct Services {
    pub(super) url: String,
    pub(super) clock: Clock,
    pub(super) queues: Mutex<Queues>,
    pub(super) parameters: Mutex<BTreeMap<String, String>>,
    pub(super) streams: Mutex<firehose::Streams>,
    pub(super) log: Mutex<Vec<LogLine>>,
    pub(super) faults: Rules<Fault>,
    pub(super) calls: Mutex<Vec<ApiCall>>,
    /// Something was sent or the clock was put forward: whoever polls should look again.
    pub(super) changed: Notify,
}

impl Services {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            clock: Clock::default(),
            queues: Mutex::default(),
            parameters: Mutex::default(),
            streams: Mutex::default(),
            log: Mutex::default(),
            faults: Rules::default(),
            calls: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.url)
    }

    pub(super) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.changed.notify_waiters();
    }

    pub(super) fn next_due(&self, queue: Option<&str>) -> Option<Duration> {
        let due_ms = lock(&self.queues).next_due_ms(queue)?;
        Some(Duration::from_millis(due_ms.saturating_sub(self.clock.now_ms())))
    }

    /// Returns the number under which the answer is to be noted.
    fn record(&self, operation: &str, request: Value, connection: usize) -> usize {
        let call = ApiCall {
            operation: operation.to_owned(),
            queue: protocol::queue_name(&request).map(str::to_owned),
            entries: ["Entries", "Records"]
                .iter()
                .find_map(|key| request[key].as_array())
                .map_or(1, Vec::len),
            request,
            at: Instant::now(),
            connection,
            status: None,
        };
        let mut calls = lock(&self.calls);
        calls.push(call);
        calls.len() - 1
    }

    async fn perform(
        &self,
        api: Api,
        operation: &str,
        request: &Value,
        refusal: Option<&Refusal<'_>>,
    ) -> Result<Value, ApiError> {
        match api {
            Api::Ssm => return ssm::perform(&lock(&self.parameters), operation, request),
            Api::Firehose => {
                return firehose::perform(&mut lock(&self.streams), operation, request, refusal);
            }
            Api::Logs => return logs::perform(&lock(&self.log), operation, request),
            Api::Sqs => (),
        }
        let wait = match operation {
            "ReceiveMessage" => request["WaitTimeSeconds"].as_u64().unwrap_or_default().min(20),
            _ => 0,
        };
        let end = Instant::now() + Duration::from_secs(wait);
        loop {
            let changed = self.changed.notified();
            let mut answer = {
                let mut queues = lock(&self.queues);
                protocol::perform(&mut queues, operation, request, refusal, self.clock.now_ms())?
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || answer.get("Messages").is_some() {
                if operation == "GetQueueUrl" {
                    answer["QueueUrl"] =
                        self.queue_url(answer["QueueUrl"].as_str().unwrap_or_default()).into();
                }
                if operation.starts_with("SendMessage") {
                    self.changed.notify_waiters();
                }
                return Ok(answer);
            }
            let due = self.next_due(protocol::queue_name(request)).unwrap_or(left);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(left.min(due.max(Duration::from_millis(1)))) => {}
            }
        }
    }

    async fn answer_with(
        &self,
        fault: Option<Fault>,
        api: Api,
        operation: &str,
        request: &Value,
    ) -> Result<Result<Value, ApiError>, Reset> {
        let refusal = match &fault {
            Some(Fault::EntryFailure { entries, sender_fault }) => {
                Some(Refusal { entries, sender_fault: *sender_fault })
            }
            _ => None,
        };
        match fault {
            Some(Fault::Hang) => return pending().await,
            Some(Fault::Reset) => return Err(Reset),
            Some(Fault::Status(status)) => return Ok(Err(ApiError::unavailable(status))),
            Some(Fault::Throttle) => return Ok(Err(api.throttled())),
            _ => {}
        }
        let mut result = self.perform(api, operation, request, refusal.as_ref()).await;
        match fault {
            Some(Fault::WrongDigest) => result.iter_mut().for_each(falsify),
            Some(Fault::LostAnswer) => return Err(Reset),
            Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        Ok(result)
    }
}

impl Handler for Services {
    async fn respond(&self, request: Request) -> Response {
        let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let (api, operation) = Api::of(target.unwrap_or_default());
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let number = self.record(operation, body.clone(), request.connection);
        let queue = protocol::queue_name(&body);
        let fault = self.faults.pick(&Subject { path: &request.path, operation, queue, body: &body });
        if let Some(Fault::Answer(status, text)) = fault {
            if let Some(call) = lock(&self.calls).get_mut(number) {
                call.status = Some(status);
            }
            return http::response(status, &[("content-type", api.content_type())], http::full(text));
        }
        let result = match api.is_signed_for(&request) {
            true => self.answer_with(fault, api, operation, &body).await?,
            false => Err(ApiError::unsigned()),
        };
        let ApiAnswer { status, body: answer, query_error } = match result {
            Ok(body) => ApiAnswer { status: 200, body, query_error: None },
            Err(error) => api.refuse(&error),
        };
        if let Some(call) = lock(&self.calls).get_mut(number) {
            call.status = Some(status);
        }
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        let mut headers = vec![("content-type", api.content_type()), ("x-amzn-requestid", &id)];
        headers.extend(query_error.as_deref().map(|error| ("x-amzn-query-error", error)));
        http::response(status, &headers, http::full(answer.to_string()))
    }
}

/// Replaces every digest of a message body.
fn falsify(answer: &mut Value) {
    match answer {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match name.as_str() {
            "MD5OfMessageBody" => *value = md5_hex(b"another").into(),
            _ => falsify(value),
        }),
        Value::Array(values) => values.iter_mut().for_each(falsify),
        _ => (),
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Api {
    Sqs,
    Ssm,
    Firehose,
    Logs,
}

impl Api {
    /// Who signed is not looked at, for which service and region is (IAM user guide, "Elements of an AWS API request
    /// signature").
    fn is_signed_for(self, request: &Request) -> bool {
        let service = match self {
            Self::Sqs => "sqs",
            Self::Ssm => "ssm",
            Self::Firehose => "firehose",
            Self::Logs => "logs",
        };
        let signature = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        signature.is_some_and(|value| value.contains(&format!("/{REGION}/{service}/aws4_request,")))
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Sqs => "application/x-amz-json-1.0",
            Self::Ssm | Self::Firehose | Self::Logs => "application/x-amz-json-1.1",
        }
    }

    /// What all services refuse alike has a name of AWS's common framework.
    fn namespace(self, error: &ApiError) -> &'static str {
        match self {
            _ if error.name.ends_with("Exception") => "com.amazon.coral.service",
            Self::Sqs => "com.amazonaws.sqs",
            Self::Ssm => "com.amazonaws.ssm",
            Self::Firehose => "com.amazonaws.firehose",
            Self::Logs => "com.amazonaws.logs",
        }
    }

    /// The service and the operation of a header `x-amz-target`.
    pub(super) fn of(target: &str) -> (Self, &str) {
        let (service, operation) = target.split_once('.').unwrap_or_default();
        let api = match service {
            "AmazonSSM" => Self::Ssm,
            "Firehose_20150804" => Self::Firehose,
            "Logs_20140328" => Self::Logs,
            _ => Self::Sqs,
        };
        (api, operation)
    }

    pub(super) fn refuse(self, error: &ApiError) -> ApiAnswer {
        let query_error = (self == Self::Sqs).then(|| error.query_error());
        ApiAnswer { status: error.status, body: error.body(self.namespace(error)), query_error }
    }

    pub(super) fn throttled(self) -> ApiError {
        let name = match self {
            Self::Sqs => "RequestThrottled",
            Self::Ssm | Self::Firehose | Self::Logs => "ThrottlingException",
        };
        ApiError::new(name, name, "Rate exceeded")
    }
}
