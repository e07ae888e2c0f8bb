//! `relay open`: the page of a deployed stack.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use local::http::{self, Request};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::relay::{Relay, start};
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME, WEBHOOK};

struct Page {
    address: SocketAddr,
    path: String,
    _relay: Child,
}

impl Page {
    async fn open(relay: &Relay, line: &str) -> Result<Self> {
        let mut child = relay.command(line).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let first = tokio::time::timeout(DEADLINE_AFTER, lines.next_line()).await??.context("it ended")?;
        let url = first.trim().strip_prefix("http://").with_context(|| first.clone())?.to_owned();
        let (address, path) = url.split_once('/').context("no path")?;
        Ok(Page { address: address.parse()?, path: format!("/{path}"), _relay: child })
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let mut request = Request::new(body.to_owned().into());
        *request.method_mut() = method.parse()?;
        *request.uri_mut() = format!("{}{path}", self.path).parse()?;
        let answer = http::send(self.address, request).await?;
        Ok((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
    }
}

#[tokio::test]
async fn a_deployed_stack_has_a_page_of_its_own() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (relay, stack) = start().await?;
    let id = stack.post(WEBHOOK).await?;
    stack.deliveries(&id, 2, DEADLINE_AFTER).await;
    stack.archived(1, DEADLINE_AFTER).await?;
    ensure!(stack.post("not JSON").await.is_err(), "what is no JSON is refused");

    let page = Page::open(&relay, "open").await?;
    let (status, html) = page.ask("GET", "", "").await?;
    assert_eq!(status, 200, "{html}");
    assert!(html.contains("What this page cannot show") && !html.contains("Try things"), "{html}");
    let (status, event) = page.ask("GET", &format!("event/{id}"), "").await?;
    assert!(
        status == 200 && event.contains("track Email Opened") && event.contains("pill accepted"),
        "{event}"
    );
    assert!(!event.contains("steve@example.com"), "{event}");
    let (status, numbers) = page.ask("GET", "numbers", "").await?;
    assert!(status == 200 && numbers.contains("1 accepted") && numbers.contains("1 dead"), "{numbers}");
    // Looked at once more it is the same, and nobody is told of a change.
    let (_, again) = page.ask("GET", &format!("event/{id}"), "").await?;
    assert_eq!(again, event);
    let unknown = "event/01935f3a-0000-7000-8000-000000000001";
    assert_eq!(page.ask("GET", unknown, "").await?.0, 404);

    let whole = Page::open(&relay, "open --show-addresses").await?;
    let (_, event) = whole.ask("GET", &format!("event/{id}"), "").await?;
    assert!(event.contains("steve@example.com") && event.contains("data-from=\"/user/email\""), "{event}");

    // Of what can be done it has the redrive alone.
    let (status, said) = page.ask("POST", "act", r#"{"send":{"route":"vero","body":"{}"}}"#).await?;
    assert!(status == 409 && said.contains("only looked at here"), "{said}");
    let (_, letters) = relay.json("letters list").await?;
    let dead = letters["letters"][0]["id"].as_str().context("no dead letter")?.to_owned();
    let (status, said) = page.ask("POST", "act", &serde_json::json!({"redrive": dead}).to_string()).await?;
    let said: Value = serde_json::from_str(&said)?;
    assert_eq!(
        (status, &said["said"]),
        (200, &format!("1 dead letters of {dead} are on the queue again").into())
    );
    Ok(())
}
