//! A proxy with a short and lasting address: it passes every request on to the Function URL, whose own address changes
//! with each start, notes the type of each webhook, and shows it to the inspector.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use inspector::feed::{Feed, Received};
use inspector::model::time::At;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::aws::Cloud;
use crate::http::{self, Request, Response};
use crate::journal::Journal;

/// Where the proxy is when nobody asks for a port and this one is free.
pub(crate) const USUAL_PORT: u16 = 4580;

/// A port that is taken and not served yet.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Takes the port that is asked for, or the usual one, or any. `option` is how it is asked for.
pub(crate) async fn take_port(port: Option<u16>, usual: u16, option: &str) -> Result<Port> {
    let (listener, address) = match (http::listen(port.or(Some(usual))).await, port) {
        (Ok(listening), _) => listening,
        (Err(_), None) => http::listen(None).await.context("no free port on 127.0.0.1")?,
        (Err(error), Some(port)) => {
            bail!("port {port} on 127.0.0.1 cannot be used ({error}); give another one to {option}, or none")
        }
    };
    Ok(Port { listener, address })
}

/// Passes requests on to the Function URL that MiniStack serves under `path`.
pub(crate) fn serve(port: Port, cloud: Cloud, path: String, journal: Arc<Journal>, feed: Arc<Feed>) {
    http::serve(port.listener, move |request| {
        let (path, journal, feed) = (path.clone(), Arc::clone(&journal), Arc::clone(&feed));
        async move {
            let (at, kept) = (At::now(), request.clone());
            match forward(cloud, &path, request).await {
                Ok(answer) => {
                    let webhooks = note(&journal, kept.body(), answer.body());
                    // Other requests have write keys in their bodies; their events come by the queue.
                    if kept.uri().path().starts_with("/vero") {
                        show(&feed, at, &kept, answer.status().as_u16(), webhooks);
                    }
                    answer
                }
                Err(error) => http::response(502, &json!({"error": format!("{error:#}")}).to_string()),
            }
        }
    });
}

async fn forward(cloud: Cloud, path: &str, mut request: Request) -> Result<Response> {
    *request.uri_mut() = format!("{path}{}", request.uri()).parse()?;
    // They belong to the connection of either side; the length is counted again.
    for name in ["host", "connection", "content-length", "transfer-encoding", "expect"] {
        request.headers_mut().remove(name);
    }
    let mut answer = http::send(cloud.0, request).await?;
    for name in ["connection", "content-length", "transfer-encoding"] {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}

/// Notes the type of each webhook that has been given an id: one, or an array of them. Gives them with their ids.
fn note(journal: &Journal, webhook: &[u8], answer: &[u8]) -> Vec<(String, Value)> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (webhook, answer) = (json(webhook), json(answer));
    let webhooks = webhook.as_array().map_or(std::slice::from_ref(&webhook), Vec::as_slice);
    let ids = answer["ids"].as_array().map_or(std::slice::from_ref(&answer["id"]), Vec::as_slice);
    let mut noted = Vec::new();
    for (id, webhook) in ids.iter().zip(webhooks) {
        let Some(id) = id.as_str() else { continue };
        if let Some(webhook_type) = webhook["type"].as_str() {
            journal.record_type(id, webhook_type);
        }
        noted.push((id.to_owned(), webhook.clone()));
    }
    noted
}

/// Tells the inspector of a request that brought webhooks.
fn show(feed: &Feed, at: At, request: &Request, status: u16, webhooks: Vec<(String, Value)>) {
    // The second part of a path may be a token, and so may the query.
    let parts: Vec<&str> = request.uri().path().split('/').collect();
    let path = if parts.len() > 2 { format!("/{}/…", parts[1]) } else { parts.join("/") };
    let received = Received {
        at,
        method: request.method().to_string(),
        path,
        headers: http::headers_without_secrets(request),
        body: String::from_utf8_lossy(request.body()).into_owned(),
        status,
    };
    let is_array = webhooks.len() > 1;
    for (id, webhook) in webhooks {
        let mut received = received.clone();
        if is_array {
            received.body = webhook.to_string();
        }
        feed.change(&id, |event| {
            event.received = Some(received);
            if event.evidence.envelope.is_none() && webhook.is_object() {
                let at = At::of_id(&id).unwrap_or(at);
                let envelope =
                    json!({"version": 1, "id": id, "source": "vero", "received_at": at, "payload": webhook});
                event.evidence.envelope = Some(envelope.to_string());
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_types_of_one_and_of_many() {
        let journal = Journal::default();
        note(&journal, br#"{"type":"sent"}"#, br#"{"id":"a"}"#);
        note(&journal, br#"[{"type":"opened"},{}]"#, br#"{"ids":["b","c"]}"#);
        note(&journal, b"{", br#"{"error":"not JSON","id":"d"}"#);
        let types = ["a", "b", "c", "d"].map(|id| journal.webhook_type(id));
        assert_eq!(types, [Some("sent".to_owned()), Some("opened".to_owned()), None, None]);
    }
}
