//! A proxy with a short and lasting address: it passes every request on to the Function URL, whose own address changes
//! with each start, and notes the type of each webhook.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::aws::Cloud;
use crate::http::{self, Request, Response};
use crate::journal::Journal;

/// Where the proxy is when nobody asks for a port and this one is free.
const USUAL_PORT: u16 = 4580;

/// A port that is taken and not served yet.
pub(crate) struct Port {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Takes the port that is asked for, or the usual one, or any.
pub(crate) async fn take_port(port: Option<u16>) -> Result<Port> {
    let (listener, address) = match (http::listen(port.or(Some(USUAL_PORT))).await, port) {
        (Ok(listening), _) => listening,
        (Err(_), None) => http::listen(None).await.context("no free port on 127.0.0.1")?,
        (Err(error), Some(port)) => {
            bail!("port {port} on 127.0.0.1 cannot be used ({error}); give another one to --port, or none")
        }
    };
    Ok(Port { listener, address })
}

/// Passes requests on to the Function URL that MiniStack serves under `path`.
pub(crate) fn serve(port: Port, cloud: Cloud, path: String, journal: Arc<Journal>) {
    http::serve(port.listener, move |request| {
        let (path, journal) = (path.clone(), Arc::clone(&journal));
        async move {
            let webhook = request.body().clone();
            match forward(cloud, &path, request).await {
                Ok(answer) => {
                    note(&journal, &webhook, answer.body());
                    answer
                }
                Err(error) => {
                    http::response(502, &serde_json::json!({"error": format!("{error:#}")}).to_string())
                }
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

/// Notes the type of each webhook that has been given an id: one, or an array of them.
fn note(journal: &Journal, webhook: &[u8], answer: &[u8]) {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (webhook, answer) = (json(webhook), json(answer));
    let webhooks = webhook.as_array().map_or(std::slice::from_ref(&webhook), Vec::as_slice);
    let ids = answer["ids"].as_array().map_or(std::slice::from_ref(&answer["id"]), Vec::as_slice);
    for (id, webhook) in ids.iter().zip(webhooks) {
        if let (Some(id), Some(webhook_type)) = (id.as_str(), webhook["type"].as_str()) {
            journal.record_type(id, webhook_type);
        }
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
