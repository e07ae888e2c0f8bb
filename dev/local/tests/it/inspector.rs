//! The inspector's page in a real browser: Debian's Chromium, driven by `browser/`. Needs Node, npm and Chromium.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use inspector::backend::{Action, Backend, Problem, Workbench};
use inspector::feed::Feed;
use inspector::model::state;
use local::{Project, Settings, Stack, install};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Set to a file's name, it keeps the picture of the README there.
const PICTURE: &str = "INSPECTOR_PICTURE";

#[tokio::test]
async fn the_page_shows_what_becomes_of_events() -> Result<()> {
    let browser = Browser::install().await?;
    let pictures = browser.folder.join("pictures");
    std::fs::create_dir_all(&pictures)?;
    let stack = Stack::start(&Settings::default()).await?;
    let pictures_path = pictures.display().to_string();
    let arguments = [stack.inspector_url(), &stack.webhook_url(), stack.write_key(), &pictures_path];
    browser.run("inspector.js", &arguments).await?;
    no_page_reaches_aws(&stack).await?;
    let picture = pictures.join("readme.png");
    ensure!(picture.metadata()?.len() < 200_000, "the README's picture has become large");
    if let Some(file) = harness::variable(PICTURE) {
        std::fs::copy(picture, Path::new(&file))?;
    }
    Ok(())
}

/// A website may ask for anything on this machine: the stand-in for AWS answers none.
async fn no_page_reaches_aws(stack: &Stack) -> Result<()> {
    let page = ("origin", "http://example.com");
    for (method, path, headers, expected) in [
        ("GET", "/_ministack/health", [("a", "b"), ("c", "d")], 200),
        ("GET", "/_ministack/health", [("host", "example.com"), ("c", "d")], 403),
        ("GET", "/_ministack/health", [("sec-fetch-site", "cross-site"), ("c", "d")], 403),
        ("OPTIONS", "/", [page, ("access-control-request-method", "POST")], 403),
        ("POST", "/", [page, ("x-amz-target", "AmazonSQS.ListQueues")], 403),
        ("POST", "/_aws/lambda-url/", [page, ("x-amz-target", "AmazonSQS.ListQueues")], 403),
    ] {
        let mut request = hyper::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let status = local::http::send(stack.aws(), request.body(Default::default())?).await?.status();
        ensure!(status == expected, "{method} {path} with {headers:?} got {status}");
    }
    Ok(())
}

#[tokio::test]
async fn the_list_bears_ten_thousand_rows() -> Result<()> {
    let browser = Browser::install().await?;
    let ids: Vec<String> = (0..10_000).map(|n| format!("e{n}")).collect();
    let (listener, address) = local::http::listen(None).await?;
    tokio::spawn(inspector::server::serve(listener, TOKEN.to_owned(), Still::with(&ids)));
    browser.run("many.js", &[&inspector::server::url(address, TOKEN)]).await
}

#[tokio::test]
async fn the_page_outlives_its_stack() -> Result<()> {
    let browser = Browser::install().await?;
    let (listener, address) = local::http::listen(None).await?;
    // As a process ends: with all its connections.
    let first = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    first.spawn(inspector::server::serve(listener, TOKEN.to_owned(), Still::with(&["before".to_owned()])));
    let url = inspector::server::url(address, TOKEN);
    let mut node = browser.command("restart.js", &[&url]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(node.stdout.take().context("no output")?).lines();
    let line = lines.next_line().await?;
    first.shutdown_background();
    ensure!(line.as_deref() == Some("it may end"), "restart.js failed; its message is above");
    let listener = loop {
        match local::http::listen(Some(address.port())).await {
            Ok((listener, _)) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    tokio::spawn(inspector::server::serve(listener, TOKEN.to_owned(), Still::with(&["after".to_owned()])));
    ensure!(node.wait().await?.success(), "restart.js failed; its message is above");
    Ok(())
}

const TOKEN: &str = "token";

/// A stack in which nothing happens.
struct Still {
    feed: Arc<Feed>,
}

impl Still {
    fn with(ids: &[String]) -> Arc<Self> {
        let feed = Arc::new(Feed::default());
        for id in ids {
            let payload = r#"{"type":"opened","user":{"id":1,"email":"steve@example.com"},"campaign":{"id":1,"name":"Welcome"}}"#;
            let envelope = format!(
                r#"{{"version":1,"id":"{id}","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{payload}}}"#
            );
            feed.change(id, |event| {
                event.evidence.envelope = Some(envelope);
                true
            });
        }
        Arc::new(Still { feed })
    }
}

impl Backend for Still {
    fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    fn stack(&self) -> state::Stack {
        state::Stack::default()
    }

    fn limits(&self) -> Vec<String> {
        Vec::new()
    }

    fn shows_addresses(&self) -> bool {
        true
    }

    fn workbench(&self) -> Option<Workbench> {
        None
    }

    async fn look(&self, _: &str) -> Result<(), Problem> {
        Ok(())
    }

    async fn act(&self, _: Action) -> Result<String, Problem> {
        Err(Problem("nothing happens here".to_owned()))
    }
}

/// `browser/` with its packages, under Cargo's target folder.
struct Browser {
    folder: PathBuf,
}

impl Browser {
    async fn install() -> Result<Browser> {
        let project = Project::find().await?;
        let (source, folder) = (project.root.join("dev/local/browser"), project.target.join("local/browser"));
        install::npm(&source, &folder, "a driver of Chromium").await?;
        Ok(Browser { folder })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut node = Command::new("node");
        node.arg(self.folder.join(program)).args(arguments).kill_on_drop(true);
        node
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let status = self.command(program, arguments).status().await.context("cannot run node")?;
        ensure!(status.success(), "{program} failed; its message is above");
        Ok(())
    }
}
