//! What is measured, and how.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Function, Queue, QueueSettings, Receiver, Sqs, UrlAnswer, sqs_event, url_event};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::binaries::Binaries;
use crate::cpu_share::CpuShare;
use crate::table::{Figure, Row};

/// How often each function is started.
pub const RUNS: usize = 30;

const REQUESTS: usize = 1_000;
const BATCH: usize = 600;
/// How often the batch is handed to the worker.
const BATCHES: usize = 5;
const MEMORY_MB: u64 = 256;

const DEADLINE: Duration = Duration::from_secs(25);
const WEBHOOK: &str = include_str!("../../../events/vero-sent.json");
const TOKEN: &str = "test";
const TOKEN_SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Where the certificate authorities are on Debian, Alpine and Amazon Linux.
const AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The stripped binaries.
pub fn sizes(binaries: &Binaries) -> Result<Vec<Row>> {
    let size = |path: &Path| Ok::<_, std::io::Error>(Figure::Bytes(fs::metadata(path)?.len()));
    let hello = size(&binaries.hello)?;
    Ok(vec![
        Row::new("ingest, stripped", size(&binaries.ingest)?)
            .beside_hello(hello)
            .at_most(Figure::Bytes(6_000_000)),
        Row::new("worker, stripped", size(&binaries.worker)?).beside_hello(hello),
    ])
}

/// From nothing to the first answer, SQS without TLS.
pub async fn start(binaries: &Binaries) -> Result<Vec<Row>> {
    let sqs = Queues::start(Sqs::start().await?);
    let (ingest, hello) = beside_each_other(binaries, &sqs, &[], None).await?;
    Ok(vec![
        Row::new("ingest, start to first answer", median(ingest.iter().map(Start::whole)))
            .beside_hello(median(hello.iter().map(Start::whole)))
            .at_most_times(5.0),
    ])
}

/// Memory and time of functions that have been at it for a while; with it, the webhooks as they were queued.
pub async fn thousand_requests(binaries: &Binaries) -> Result<(Vec<Row>, Vec<String>)> {
    let queues = Queues::start(Sqs::start().await?);
    let ingest = queues.function(&binaries.ingest, &[]).await?;
    let hello = queues.function(&binaries.hello, &[]).await?;
    let event = webhook();
    let (mut times, mut hello_times) = (Vec::new(), Vec::new());
    for _ in 0..REQUESTS {
        times.push(invoke(&ingest, &event).await?.1);
        hello_times.push(invoke(&hello, &event).await?.1);
    }
    let webhooks: Vec<String> = queues.live.messages().into_iter().map(|message| message.body).collect();
    ensure!(webhooks.len() == REQUESTS, "{} of {REQUESTS} webhooks are on the queue", webhooks.len());
    let rows = vec![
        Row::new("ingest, resident after 1,000", memory(&ingest)?)
            .beside_hello(memory(&hello)?)
            .at_most(Figure::Bytes(12_000_000)),
        Row::new("ingest, warm answer", median(times)).beside_hello(median(hello_times)),
    ];
    Ok((rows, webhooks))
}

/// As on Lambda: behind TLS, and after init with the CPU that goes with the memory.
pub async fn on_lambda(binaries: &Binaries) -> Result<Vec<Row>> {
    let queues = Queues::start(Sqs::start_tls().await?);
    let authorities = authorities(queues.sqs.ca_file().context("no authority")?)?;
    let file = authorities.path().to_string_lossy();
    let variables = [("SSL_CERT_FILE", &*file)];
    let share = CpuShare::of_memory(MEMORY_MB)
        .inspect_err(|error| eprintln!("The share of the CPU is not measured: {error:#}"))
        .ok();
    let (ingest, hello) = beside_each_other(binaries, &queues, &variables, share.as_ref()).await?;
    let init = Row::new("ingest, init with TLS", median(ingest.iter().map(|start| start.init)))
        .beside_hello(median(hello.iter().map(|start| start.init)));
    let what = format!("ingest, first answer with the CPU share of {MEMORY_MB} MB");
    let first = match share {
        Some(_) => Row::new(what, median(ingest.iter().map(|start| start.answer)))
            .beside_hello(median(hello.iter().map(|start| start.answer))),
        None => Row::not_measured(what),
    };
    let first = first.at_most(Figure::Time(Duration::from_millis(20)));
    Ok(vec![init, first])
}

/// What becomes of one large batch.
pub async fn whole_batch(binaries: &Binaries, webhooks: &[String]) -> Result<Vec<Row>> {
    let queues = Queues::start(Sqs::start().await?);
    let (segment, vero) = (Receiver::start().await?, Receiver::start().await?);
    let worker = queues
        .function(
            &binaries.worker,
            &[
                ("SEGMENT_WRITE_KEY", "key"),
                ("SEGMENT_ENDPOINT", segment.url()),
                ("VERO_AUTH_TOKEN", "token"),
                ("VERO_ENDPOINT", vero.url()),
            ],
        )
        .await?;
    let ids: Vec<String> = (0..BATCH).map(|number| format!("message-{number}")).collect();
    let records: Vec<(&str, &str)> =
        ids.iter().zip(webhooks).map(|(id, body)| (id.as_str(), body.as_str())).collect();
    let event = sqs_event(&records).to_string();
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let (response, time) = invoke(&worker, &event).await?;
        ensure!(response["batchItemFailures"] == Value::Array(vec![]), "the worker answered {response}");
        times.push(time);
    }
    let each = Figure::Count(BATCH);
    Ok(vec![
        Row::new("worker, Segment calls for 600 webhooks", Figure::Count(segment.count().div_ceil(BATCHES)))
            .beside(each, "webhooks")
            .at_most(Figure::Count(3)),
        Row::new("worker, Vero calls for 600 webhooks", Figure::Count(vero.count().div_ceil(BATCHES)))
            .beside(each, "webhooks"),
        Row::new("worker, connections to Vero", Figure::Count(vero.connections()))
            .beside(Figure::Count(vero.count()), "calls"),
        Row::new("worker, time for 600 webhooks", median(times)),
        Row::new("worker, resident after 3,000 webhooks", memory(&worker)?),
    ])
}

/// SQS, and the two queues that the functions know.
struct Queues {
    sqs: Sqs,
    live: Queue,
    dead: Queue,
}

impl Queues {
    fn start(sqs: Sqs) -> Self {
        let queue = |name| sqs.queue(name, QueueSettings::default());
        Self { live: queue("live"), dead: queue("dead"), sqs }
    }

    /// A function with the variables that it shares with the others, and these.
    async fn function(&self, binary: &Path, variables: &[(&str, &str)]) -> Result<Function> {
        let (queue, dead) = (self.live.url(), self.dead.url());
        let shared = [
            ("AWS_ENDPOINT_URL", self.sqs.url()),
            ("QUEUE_URL", &queue),
            ("DEAD_LETTER_QUEUE_URL", &dead),
            ("WEBHOOK_TOKEN_SHA256", TOKEN_SHA256),
        ];
        Function::start(binary, &[&shared, variables].concat()).await
    }
}

/// A start, in its two parts.
struct Start {
    /// From spawning the process to its first request for an event.
    init: Duration,
    /// From then on to the answer.
    answer: Duration,
}

impl Start {
    fn whole(&self) -> Duration {
        self.init + self.answer
    }
}

/// Starts `ingest` and the bare function in turn, so that whatever else the machine does meets both. A first start
/// of each, which reads the binaries from the disk, does not count.
async fn beside_each_other(
    binaries: &Binaries,
    queues: &Queues,
    variables: &[(&str, &str)],
    share: Option<&CpuShare>,
) -> Result<(Vec<Start>, Vec<Start>)> {
    let event = webhook();
    let (mut ingest, mut hello) = (Vec::new(), Vec::new());
    for _ in 0..=RUNS {
        for (binary, starts) in [(&binaries.ingest, &mut ingest), (&binaries.hello, &mut hello)] {
            let function = queues.function(binary, variables).await?;
            let init = function.init_duration().await?;
            if let Some(share) = share {
                share.admit(function.pid())?;
            }
            let (_, answer) = invoke(&function, &event).await?;
            starts.push(Start { init, answer });
            function.kill().await;
        }
    }
    let queued = queues.live.messages().len();
    ensure!(queued == RUNS + 1, "{queued} of {} webhooks are on the queue", RUNS + 1);
    Ok((ingest.split_off(1), hello.split_off(1)))
}

/// Invokes a function; whatever has a status must be a success.
async fn invoke(function: &Function, event: &str) -> Result<(Value, Duration)> {
    let event = event.to_owned();
    let begin = Instant::now();
    let response = function.invoke_raw(event, DEADLINE).await?;
    let time = begin.elapsed();
    let response: Value = serde_json::from_slice(&response)?;
    ensure!(UrlAnswer::of(&response).status < 300, "the function answered {response}");
    Ok((response, time))
}

fn webhook() -> String {
    let headers = [("content-type", "application/json")];
    url_event("POST", &format!("/vero/{TOKEN}"), "", &headers, WEBHOOK.as_bytes(), false).to_string()
}

/// This authority among the system's own: a client has to read them all.
fn authorities(own: &Path) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(&fs::read(own)?)?;
    if let Some(system) = AUTHORITIES.iter().find_map(|path| fs::read(path).ok()) {
        file.write_all(&system)?;
    }
    Ok(file)
}

fn memory(function: &Function) -> Result<Figure> {
    Ok(Figure::Bytes(1_024 * function.resident_kib()?))
}

fn median(times: impl IntoIterator<Item = Duration>) -> Figure {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort_unstable();
    Figure::Time(times.get(times.len() / 2).copied().unwrap_or_default())
}
