//! The events that Lambda hands to the functions, and the answer that a Function URL makes of a response.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::aws::{REGION, md5_hex, queue_arn};
use crate::clock::unix_ms;

/// An SQS event with one record for each id and body, received for the first time.
pub fn sqs_event(messages: &[(&str, &str)]) -> Value {
    let now = unix_ms().to_string();
    let records: Vec<Value> = messages
        .iter()
        .map(|(id, body)| {
            let attributes = json!({
                "ApproximateReceiveCount": "1",
                "SentTimestamp": now,
                "SenderId": "AROAEXAMPLE:ingest",
                "ApproximateFirstReceiveTimestamp": now,
            });
            sqs_record(id, &format!("receipt-of-{id}"), body, attributes, json!({}), "vero-relay")
        })
        .collect();
    json!({ "Records": records })
}

/// One record of an SQS event; message attributes are in Lambda's own form.
pub(crate) fn sqs_record(
    id: &str,
    receipt: &str,
    body: &str,
    attributes: Value,
    message_attributes: Value,
    queue: &str,
) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": receipt,
        "body": body,
        "attributes": attributes,
        "messageAttributes": message_attributes,
        "md5OfBody": md5_hex(body.as_bytes()),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(queue),
        "awsRegion": REGION,
    })
}

/// A request to a Function URL in payload format 2.0. `query` is what follows the question mark; equal
/// headers are joined by a comma; a body that is not text travels as base64 whatever `base64` says.
pub fn url_event(
    method: &str,
    path: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    base64: bool,
) -> Value {
    let domain = format!("vrelayexample.lambda-url.{REGION}.on.aws");
    let mut all = Map::new();
    for (name, value) in [
        ("host", domain.as_str()),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-proto", "https"),
        ("x-amzn-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"),
    ] {
        all.insert(name.to_owned(), value.into());
    }
    let mut given = Map::new();
    for (name, value) in headers {
        join(&mut given, name.to_ascii_lowercase(), value);
    }
    let cookies = given.remove("cookie");
    all.extend(given);

    let mut parameters = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        join(&mut parameters, name.into_owned(), &value);
    }

    let now = OffsetDateTime::now_utc();
    let clock = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "vrelayexample",
            "domainName": domain,
            "domainPrefix": "vrelayexample",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.7",
                "userAgent": all.get("user-agent"),
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": now.format(clock).unwrap_or_default(),
            "timeEpoch": unix_ms(),
        },
        "headers": all,
    });
    if let Some(Value::String(cookies)) = cookies {
        event["cookies"] = cookies.split("; ").collect();
    }
    if !parameters.is_empty() {
        event["queryStringParameters"] = parameters.into();
    }
    let text = std::str::from_utf8(body).ok().filter(|_| !base64);
    event["isBase64Encoded"] = (text.is_none() && !body.is_empty()).into();
    if !body.is_empty() {
        event["body"] = text.map_or_else(|| STANDARD.encode(body), str::to_owned).into();
    }
    event
}

fn join(map: &mut Map<String, Value>, name: String, value: &str) {
    let joined = match map.get(&name).and_then(Value::as_str) {
        Some(before) => format!("{before},{value}"),
        None => value.to_owned(),
    };
    map.insert(name, joined.into());
}

/// What the caller of a Function URL gets for a function's response.
#[derive(Clone, Debug)]
pub struct UrlAnswer {
    pub status: u16,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decoded if it was base64.
    pub body: Vec<u8>,
}

impl UrlAnswer {
    /// As a Function URL reads a response: one without `statusCode` is the body of a 200 as a whole, one
    /// that cannot be sent becomes a 502.
    pub fn of(response: &Value) -> Self {
        let Some(status) = response.get("statusCode") else {
            let json = ("content-type".to_owned(), "application/json".to_owned());
            return Self { status: 200, headers: vec![json], body: response.to_string().into_bytes() };
        };
        let body = response["body"].as_str().unwrap_or_default();
        let body = match response["isBase64Encoded"].as_bool() {
            Some(true) => STANDARD.decode(body).ok(),
            _ => Some(body.as_bytes().to_vec()),
        };
        match (status.as_u64().and_then(|status| u16::try_from(status).ok()), body) {
            (Some(status), Some(body)) => Self { status, headers: answer_headers(response), body },
            _ => Self { status: 502, headers: Vec::new(), body: b"Internal Server Error".to_vec() },
        }
    }

    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

fn answer_headers(response: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let single = response["headers"].as_object().into_iter().flatten();
    let mut headers: Vec<_> = single.map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect();
    // `multiValueHeaders` is not part of format 2.0: Lambda ignores it.
    let cookies = response["cookies"].as_array().into_iter().flatten();
    headers.extend(cookies.map(|cookie| ("set-cookie".to_owned(), text(cookie))));
    headers
}
