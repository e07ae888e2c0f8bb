//! The page's address. It listens on 127.0.0.1 alone. Its URL has a token; requests of other sites, which a browser names
//! by `Origin`, and those by another name than this machine's, are refused.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream::{self, Stream};
use maud::Markup;
use serde_json::json;
use tokio::net::TcpListener;

use crate::backend::{Action, Backend, Problem, StandIn};
use crate::model::letter::is_plain;
use crate::model::state::Stack;
use crate::model::time::At;
use crate::page;
use crate::page::numbers::Numbers;
use crate::page::rows::View;
use crate::page::text::SHOWN;

/// So many rows go in one message of the stream.
const ROWS: usize = 200;
/// Changes of a moment go together.
const MOMENT: Duration = Duration::from_millis(100);
/// A body that somebody sends from the page, which makes it a text of JSON, is no larger: `ingest` takes 256 KiB of an event.
const BODY: usize = 1024 * 1024;
/// A policy by which nothing runs or loads but what this server serves.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct App<B> {
    backend: Arc<B>,
    token: String,
    address: SocketAddr,
    numbers: Mutex<Numbers>,
    acting: tokio::sync::Mutex<()>,
}

impl<B: Backend> App<B> {
    fn view<'a>(&self, stack: &'a Stack) -> View<'a> {
        View {
            stack,
            now: At::now(),
            shows_addresses: self.backend.shows_addresses(),
            is_workbench: stack.is_local && self.backend.workbench().is_some(),
        }
    }
}

/// Serves the page for as long as it is awaited.
///
/// # Errors
/// If the listener fails.
pub async fn serve<B: Backend>(listener: TcpListener, token: String, backend: Arc<B>) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let app =
        Arc::new(App { backend, token, address, numbers: Mutex::default(), acting: Default::default() });
    let routes = Router::new()
        .route("/{token}/", get(whole::<B>))
        .route("/{token}/style.css", get(style))
        .route("/{token}/script.js", get(script))
        .route("/{token}/numbers", get(numbers::<B>))
        .route("/{token}/switches", get(switches::<B>))
        .route("/{token}/events/{since}", get(events::<B>))
        .route("/{token}/event/{id}", get(event::<B>))
        .route("/{token}/search", post(search::<B>))
        .route("/{token}/act", post(act::<B>))
        .layer(from_fn_with_state(Arc::clone(&app), guard::<B>))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(app);
    axum::serve(listener, routes).await
}

/// The page's URL.
pub fn url(address: SocketAddr, token: &str) -> String {
    format!("http://{address}/{token}/")
}

/// Refuses whoever is not somebody of this machine with the URL.
async fn guard<B: Backend>(State(app): State<Arc<App<B>>>, request: Request, next: Next) -> Response {
    let refusal = refusal(&app.token, app.address, request.uri().path(), request.headers());
    let mut response = match refusal {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why a request is refused.
fn refusal(token: &str, address: SocketAddr, path: &str, headers: &HeaderMap) -> Option<&'static str> {
    let hosts = [format!("127.0.0.1:{}", address.port()), format!("localhost:{}", address.port())];
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if !text(header::HOST).is_some_and(|host| hosts.iter().any(|own| own == host)) {
        return Some("this page answers as 127.0.0.1 and localhost alone");
    }
    let is_own =
        |origin: &str| origin.strip_prefix("http://").is_some_and(|host| hosts.iter().any(|own| own == host));
    if text(header::ORIGIN).is_some_and(|origin| !is_own(origin)) {
        return Some("another site may not ask here");
    }
    if text(HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| !["same-origin", "none"].contains(&site))
    {
        return Some("another site may not ask here");
    }
    let given = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    (!is_same(given, token))
        .then_some("the URL lacks the page's token: cargo local and relay open print it whole")
}

/// In a time that does not depend on where they differ.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn html(markup: Markup) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], markup.into_string()).into_response()
}

async fn whole<B: Backend>(State(app): State<Arc<App<B>>>) -> Response {
    let backend = &app.backend;
    html(page::whole(&backend.stack(), &backend.limits(), backend.workbench().as_ref()))
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../assets/style.css")).into_response()
}

async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../assets/script.js"))
        .into_response()
}

async fn numbers<B: Backend>(State(app): State<Arc<App<B>>>) -> Response {
    let mut numbers = app.numbers.lock().unwrap_or_else(PoisonError::into_inner);
    let stack = app.backend.stack();
    html(numbers.show(app.backend.feed(), &app.view(&stack)))
}

/// The ids of the long events, and of those that serde cannot read, that have these words somewhere. The browser has the
/// heads of all others, and searches those.
async fn search<B: Backend>(State(app): State<Arc<App<B>>>, words: String) -> Response {
    let (feed, words) = (Arc::clone(app.backend.feed()), words.to_lowercase());
    let shows_addresses = app.backend.shows_addresses();
    // It may go through 160 MB: one envelope after the other is copied, so that others get at the feed meanwhile.
    let search = tokio::task::spawn_blocking(move || {
        let mut ids = feed.each(|event| event.evidence.id.clone());
        ids.retain(|id| shows_addresses && feed.envelope(id).is_some_and(|envelope| has(envelope, &words)));
        ids
    });
    let found = search.await.unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], json!(found).to_string()).into_response()
}

/// Whether an envelope has these words, of small letters, where its row does not show it. In JSON a letter may be written
/// by its number.
fn has(envelope: String, words: &str) -> bool {
    let read = serde_json::from_str::<serde_json::Value>(&envelope).ok().map(|read| read.to_string());
    (read.is_none() || envelope.len() > SHOWN) && read.unwrap_or(envelope).to_lowercase().contains(words)
}

/// How each stand-in answers now, and whether its destination is paused.
async fn switches<B: Backend>(State(app): State<Arc<App<B>>>) -> Response {
    let (stack, workbench) = (app.backend.stack(), app.backend.workbench().unwrap_or_default());
    let switches = workbench.stand_ins.iter().map(|StandIn { destination, behaviour }| {
        let is_paused = stack.paused().any(|name| name == destination);
        json!({"destination": destination, "behaviour": behaviour, "is_paused": is_paused})
    });
    let switches: Vec<_> = switches.collect();
    ([(header::CONTENT_TYPE, "application/json")], json!(switches).to_string()).into_response()
}

async fn event<B: Backend>(
    State(app): State<Arc<App<B>>>,
    Path((_, id)): Path<(String, String)>,
) -> Response {
    let backend = &app.backend;
    if !is_plain(&id) {
        return (StatusCode::NOT_FOUND, "no event has such an id").into_response();
    }
    if let Err(problem) = backend.look(&id).await {
        return (StatusCode::BAD_GATEWAY, problem.to_string()).into_response();
    }
    match backend.feed().event(&id) {
        Some(event) => html(page::event::whole(&event, &app.view(&backend.stack()))),
        None => (StatusCode::NOT_FOUND, "nothing is known of this event any more").into_response(),
    }
}

/// The rows that changed after `since`, which is a feed's epoch and a version of it; and from then on each change.
async fn events<B: Backend>(
    State(app): State<Arc<App<B>>>,
    Path((_, since)): Path<(String, String)>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let feed = Arc::clone(app.backend.feed());
    // A browser that was cut off says where it was.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map_or(since, str::to_owned);
    let (epoch, version) = last.split_once('-').unwrap_or_default();
    let is_same_feed = epoch == feed.epoch.to_string();
    let version = version.parse().ok().filter(|_| is_same_feed).unwrap_or(0);
    let begin = (version, !is_same_feed, feed.subscribe());
    let messages = stream::unfold(begin, move |(since, is_anew, mut changed)| {
        let (app, feed) = (Arc::clone(&app), Arc::clone(&feed));
        async move {
            loop {
                changed.mark_unchanged();
                let events = feed.changed_since(since, ROWS);
                let Some(last) = events.last().map(|event| event.version) else {
                    if is_anew {
                        let message = SseEvent::default().data(json!({"anew": true, "rows": ""}).to_string());
                        return Some((Ok(message.id(format!("{}-0", feed.epoch))), (0, false, changed)));
                    }
                    if changed.changed().await.is_err() {
                        return None;
                    }
                    tokio::time::sleep(MOMENT).await;
                    continue;
                };
                let stack = app.backend.stack();
                let view = app.view(&stack);
                let rows: String =
                    events.iter().map(|event| page::rows::row(event, &view).into_string()).collect();
                // As JSON, because a line of the stream ends at any line break.
                let message = SseEvent::default().data(json!({"anew": is_anew, "rows": rows}).to_string());
                return Some((Ok(message.id(format!("{}-{last}", feed.epoch))), (last, false, changed)));
            }
        }
    });
    Sse::new(messages).keep_alive(KeepAlive::new().interval(Duration::from_secs(5)))
}

/// One after the other, and to its end, whether or not somebody still waits for it.
async fn acted<B: Backend>(app: &Arc<App<B>>, action: Action) -> Result<String, Problem> {
    let app = Arc::clone(app);
    let task = tokio::spawn(async move {
        let _turn = app.acting.lock().await;
        app.backend.act(action).await
    });
    task.await.unwrap_or_else(|_| Err(Problem("it failed; what was done of it is not known".to_owned())))
}

async fn act<B: Backend>(State(app): State<Arc<App<B>>>, body: Bytes) -> Response {
    let answer = match serde_json::from_slice::<Action>(&body) {
        Ok(action) => acted(&app, action).await,
        Err(error) => Err(Problem(format!("the page asked for something that nobody knows: {error}"))),
    };
    let (status, said) = match answer {
        Ok(said) => (StatusCode::OK, said),
        Err(problem) => (StatusCode::CONFLICT, problem.to_string()),
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({"said": said}).to_string()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        refusal("secret", SocketAddr::from(([127, 0, 0, 1], 4581)), path, &map).is_some()
    }

    #[test]
    fn words_are_found_however_they_are_written() {
        let long = "x".repeat(SHOWN);
        let has = |envelope: &str, words: &str| has(envelope.to_owned(), words);
        assert!(has(&format!(r#"{{"a":"{long}","b":"A Caf\u00E9"}}"#), "a café"));
        assert!(!has(&format!(r#"{{"a":"{long}"}}"#), "café"));
        assert!(has(r#"{"a":"\ud800","b":"Needle"}"#, "needle"));
        assert!(!has(r#"{"a":"Needle"}"#, "needle"), "the browser has it");
    }

    #[test]
    fn only_who_has_the_url_on_this_machine_is_answered() {
        let host = ("host", "127.0.0.1:4581");
        assert!(!refused("/secret/", &[host]));
        assert!(!refused("/secret/act", &[("host", "localhost:4581"), ("origin", "http://localhost:4581")]));
        assert!(!refused("/secret/", &[host, ("sec-fetch-site", "none")]));
        for path in ["/", "/secre/", "/secrets/", "//secret/", "/act"] {
            assert_eq!(refused(path, &[host]), path != "//secret/", "{path}");
        }
        assert!(refused("/secret/", &[]));
        assert!(refused("/secret/", &[("host", "example.com")]));
        assert!(refused("/secret/", &[("host", "127.0.0.1:80")]));
        for origin in ["http://example.com", "null", "https://127.0.0.1:4581", "http://127.0.0.1:80"] {
            assert!(refused("/secret/", &[host, ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(refused("/secret/", &[host, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
