//! What every measurement needs: a stand-in for SQS, functions that know it, and a webhook to hand them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Function, Queue, QueueSettings, Sqs, UrlAnswer, url_event};
use serde_json::Value;

use crate::cpu_share::CpuShare;
use crate::table::Figure;

const DEADLINE: Duration = Duration::from_secs(25);
const WEBHOOK: &str = include_str!("../../../events/vero-sent.json");
/// Vero's webhooks have 600 bytes and more.
const WEBHOOK_BYTES: usize = 1_024;
const TOKEN: &str = "test";
const TOKEN_SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// SQS, and the two queues that the functions know.
pub struct Scene {
    pub sqs: Sqs,
    pub live: Queue,
    dead: Queue,
}

impl Scene {
    pub fn of(sqs: Sqs) -> Self {
        let queue = |name| sqs.queue(name, QueueSettings::default());
        Self { live: queue("live"), dead: queue("dead"), sqs }
    }

    /// A function with the variables that it shares with the others, and these.
    pub async fn function(&self, binary: &Path, variables: &[(&str, &str)]) -> Result<Function> {
        let (queue, dead) = (self.live.url(), self.dead.url());
        let shared = [
            ("AWS_ENDPOINT_URL", self.sqs.url()),
            ("QUEUE_URL", &queue),
            ("DEAD_LETTER_QUEUE_URL", &dead),
            ("WEBHOOK_TOKEN_SHA256", TOKEN_SHA256),
        ];
        Function::start(binary, &[&shared, variables].concat()).await
    }

    /// Forgets what was sent, for runs so long that remembering it all would be measured, too.
    pub fn clear(&self) {
        self.sqs.queue(self.live.name(), QueueSettings::default());
        self.sqs.forget_calls();
    }
}

#[derive(Clone, Copy)]
pub struct Program<'p> {
    pub binary: &'p Path,
    /// Variables of its own.
    pub variables: &'p [(&'p str, &'p str)],
}

/// A start, in its two parts.
#[derive(Clone, Copy)]
pub struct Start {
    /// From spawning the process to its first request for an event.
    pub init: Duration,
    /// From then on to the answer.
    pub answer: Duration,
}

impl Start {
    /// From spawning the process to its first answer.
    pub fn whole(&self) -> Duration {
        self.init + self.answer
    }
}

/// Starts the programs in turn, so that whatever else the machine does meets them all; from the first request on
/// they have this share of the CPU. A first start of each, which reads the program from the disk, does not count.
pub async fn starts(
    scene: &Scene,
    programs: &[Program<'_>],
    runs: usize,
    share: Option<&CpuShare>,
) -> Result<Vec<Vec<Start>>> {
    let event = webhook();
    let mut starts = vec![Vec::new(); programs.len()];
    for run in 0..=runs {
        for (program, starts) in programs.iter().zip(&mut starts) {
            let function = scene.function(program.binary, program.variables).await?;
            let init = function.init_duration().await?;
            if let Some(share) = share {
                share.admit(function.pid())?;
            }
            let (_, answer) = invoke(&function, &event).await?;
            if run > 0 {
                starts.push(Start { init, answer });
            }
            function.kill().await;
        }
    }
    Ok(starts)
}

/// Invokes a function; whatever has a status must be a success.
pub async fn invoke(function: &Function, event: &str) -> Result<(Value, Duration)> {
    let event = event.to_owned();
    let begin = Instant::now();
    let response = function.invoke_raw(event, DEADLINE).await?;
    let time = begin.elapsed();
    let response: Value = serde_json::from_slice(&response)?;
    ensure!(UrlAnswer::of(&response).status < 300, "the function answered {response}");
    Ok((response, time))
}

/// A request of Vero's, with a webhook of 1 KB.
pub fn webhook() -> String {
    let headers = [("content-type", "application/json")];
    let padding = " ".repeat(WEBHOOK_BYTES.saturating_sub(WEBHOOK.len()));
    let webhook = format!("{WEBHOOK}{padding}");
    url_event("POST", &format!("/vero/{TOKEN}"), "", &headers, webhook.as_bytes(), false).to_string()
}

pub fn memory(function: &Function) -> Result<Figure> {
    Ok(Figure::Bytes(1_024 * function.resident_kib()?))
}

/// The time that half of them keep to.
pub fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    quantile(times, 0.5)
}

/// The time that this share of them keeps to.
pub fn quantile(times: impl IntoIterator<Item = Duration>, share: f64) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort_unstable();
    times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default()
}
