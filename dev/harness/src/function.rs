//! A real binary, run as Lambda runs it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hyper::body::Bytes;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::aws::REGION;
use crate::clock::unix_ms;
use crate::emf::{Metric, metrics};
use crate::runtime_api::{Outcome, Phase, RuntimeApi};
use crate::sync::lock;

/// Lambda gives an on-demand function 10 s to start.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// How long an invocation may take whose own deadline says nothing.
const UNKNOWN_DEADLINE_LIMIT: Duration = Duration::from_secs(60);
/// How long a dead process's last answer may still be on its way to us.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The trace header of an invocation that nobody traces.
const NOT_TRACED: &str = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0";

/// Until when an invocation may run.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// So long from now; then the process is killed, as Lambda does.
    In(Duration),
    /// This value in milliseconds since 1970, as it is. A past one, which local emulators send, is not
    /// enforced.
    AtMs(u64),
}

impl Default for Deadline {
    fn default() -> Self {
        Self::In(Duration::from_secs(25))
    }
}

impl From<Duration> for Deadline {
    fn from(time: Duration) -> Self {
        Self::In(time)
    }
}

impl Deadline {
    fn resolve(self) -> (u64, Duration) {
        let now = unix_ms();
        match self {
            Self::In(time) => (now + time.as_millis() as u64, time),
            Self::AtMs(at) if at > now => (at, Duration::from_millis(at - now)),
            Self::AtMs(at) => (at, UNKNOWN_DEADLINE_LIMIT),
        }
    }
}

/// Why an invocation gave no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FunctionError {
    /// The function posted this to `invocation/{id}/error`.
    #[error("the function reported an error: {0}")]
    Reported(Value),
    #[error("the process died: {0}")]
    Died(ExitStatus),
    #[error("the deadline passed and the process was killed")]
    DeadlinePassed,
    /// The process did not get as far as asking for an event.
    #[error("the process did not start: {0}")]
    Init(String),
    #[error("the response is no JSON: {0}")]
    NotJson(String),
}

/// How a start failed.
#[derive(Clone, Debug)]
pub struct InitError {
    /// What the process posted to `init/error`; null when it posted nothing.
    pub body: Value,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
}

/// A function: its binary and environment, and the process that runs it now.
///
/// As on Lambda, a process that has died is replaced at the next invocation, and invocations wait for each
/// other. Dropped, it takes its process along.
pub struct Function {
    binary: PathBuf,
    environment: Vec<(String, String)>,
    log: File,
    turn: tokio::sync::Mutex<()>,
    process: Mutex<Arc<Process>>,
    invocations: AtomicU64,
    trace_header: Mutex<String>,
    client_context: Mutex<Option<String>>,
}

impl Function {
    /// Spawns the binary with Lambda's own variables and the given ones, and no others. It returns at once:
    /// [`init_duration`](Self::init_duration) waits for the start, as does the first invocation.
    pub async fn start(binary: impl AsRef<Path>, environment: &[(&str, &str)]) -> Result<Self> {
        let binary = binary.as_ref().to_owned();
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let log = tempfile::tempfile().context("no file for the function's log")?;
        let process = Process::spawn(&binary, &environment, &log).await?;
        Ok(Self {
            binary,
            environment,
            log,
            turn: tokio::sync::Mutex::default(),
            process: Mutex::new(Arc::new(process)),
            invocations: AtomicU64::default(),
            trace_header: Mutex::new(NOT_TRACED.to_owned()),
            client_context: Mutex::default(),
        })
    }

    /// Invokes with the default deadline, 25 s from now.
    pub async fn invoke(&self, event: &Value) -> Result<Value, FunctionError> {
        self.invoke_with(event, Deadline::default()).await
    }

    /// Invokes with a deadline of the caller's.
    pub async fn invoke_with(
        &self,
        event: &Value,
        deadline: impl Into<Deadline>,
    ) -> Result<Value, FunctionError> {
        let response = self.invoke_raw(event.to_string(), deadline).await?;
        serde_json::from_slice(&response)
            .map_err(|_| FunctionError::NotJson(String::from_utf8_lossy(&response).into_owned()))
    }

    /// Invokes with any bytes as the event, and returns the response's.
    pub async fn invoke_raw(
        &self,
        event: impl Into<Bytes>,
        deadline: impl Into<Deadline>,
    ) -> Result<Bytes, FunctionError> {
        let _turn = self.turn.lock().await;
        let process = self.running().await.map_err(|error| FunctionError::Init(format!("{error:#}")))?;
        process.ready().await?;
        let (deadline_ms, limit) = deadline.into().resolve();
        let count = self.invocations.fetch_add(1, Ordering::Relaxed);
        let id = format!("8476a536-e9f4-11e8-9739-{count:012x}");
        let mut headers = vec![("lambda-runtime-trace-id", lock(&self.trace_header).clone())];
        let context = lock(&self.client_context).clone();
        headers.extend(context.map(|context| ("lambda-runtime-client-context", context)));
        let mut outcome = process.api.invoke(id, event.into(), deadline_ms, headers);
        tokio::select! {
            biased;
            outcome = &mut outcome => result(outcome),
            status = process.exited() => match timeout(LAST_WORDS, outcome).await {
                Ok(outcome) => result(outcome),
                Err(_) => Err(FunctionError::Died(status)),
            },
            () = sleep(limit) => {
                process.kill().await;
                Err(FunctionError::DeadlinePassed)
            }
        }
    }

    /// From now on invocations are part of this trace: an X-Ray trace header.
    pub fn trace(&self, header: &str) {
        *lock(&self.trace_header) = header.to_owned();
    }

    /// From now on invocations have this client context, which a caller of Lambda's Invoke may give.
    pub fn client_context(&self, context: &str) {
        *lock(&self.client_context) = Some(context.to_owned());
    }

    /// From spawning the process to its first request for an event; waits for that.
    pub async fn init_duration(&self) -> Result<Duration, FunctionError> {
        self.process().ready().await
    }

    /// Waits until the process has given up starting; an error when it starts after all.
    pub async fn init_error(&self) -> Result<InitError> {
        let process = self.process();
        let status = tokio::select! {
            status = process.exited() => status,
            Ok(_) = process.ready() => bail!("the function started"),
            () = sleep(INIT_LIMIT) => bail!("the process neither started nor ended in {INIT_LIMIT:?}"),
        };
        let body = match &*process.api.phase().borrow() {
            Phase::Failed(body) => body.clone(),
            _ => Value::Null,
        };
        Ok(InitError { body, code: status.code() })
    }

    /// Ends the process with SIGKILL; an invocation under way fails.
    pub async fn kill(&self) {
        self.process().kill().await;
    }

    /// Ends the process and starts another: a cold start.
    pub async fn restart(&self) -> Result<()> {
        self.kill().await;
        self.running().await.map(drop)
    }

    /// Every line written so far to stdout and stderr, by all of the function's processes.
    pub fn logs(&self) -> Vec<String> {
        let mut text = Vec::new();
        let mut chunk = [0; 16 * 1024];
        while let Ok(read @ 1..) = self.log.read_at(&mut chunk, text.len() as u64) {
            text.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// The lines of the log that are JSON objects.
    pub fn log_entries(&self) -> Vec<Value> {
        let parse = |line: String| serde_json::from_str(&line).ok().filter(Value::is_object);
        self.logs().into_iter().filter_map(parse).collect()
    }

    /// The metrics that CloudWatch would make of the log so far, in order; an error for a line that it would not take.
    pub fn metrics(&self) -> Result<Vec<Metric>> {
        let metrics: Result<Vec<Vec<Metric>>> = self.log_entries().iter().map(metrics).collect();
        metrics.map(|metrics| metrics.concat())
    }

    /// The id of the present process, which may have ended.
    pub fn pid(&self) -> u32 {
        self.process().pid
    }

    /// The resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory that the process has had, in KiB.
    pub fn peak_resident_kib(&self) -> Result<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).context("the process has ended")
    }

    fn process(&self) -> Arc<Process> {
        Arc::clone(&lock(&self.process))
    }

    async fn running(&self) -> Result<Arc<Process>> {
        let process = self.process();
        if process.exit.borrow().is_none() {
            return Ok(process);
        }
        let process = Arc::new(Process::spawn(&self.binary, &self.environment, &self.log).await?);
        *lock(&self.process) = Arc::clone(&process);
        Ok(process)
    }
}

/// Each test with a function is also one of its metrics: a line that CloudWatch would refuse fails it.
impl Drop for Function {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let metrics = self.metrics();
            assert!(metrics.is_ok(), "a line of {}: {metrics:?}", self.binary.display());
        }
    }
}

fn result(outcome: Result<Outcome, oneshot::error::RecvError>) -> Result<Bytes, FunctionError> {
    match outcome {
        Ok(Outcome::Response(response)) => Ok(response),
        Ok(Outcome::Error(body)) => Err(FunctionError::Reported(body)),
        Err(_) => Err(FunctionError::Init("the Runtime API is gone".to_owned())),
    }
}

/// One process, with a Runtime API of its own: nothing meant for another can reach it.
struct Process {
    api: RuntimeApi,
    pid: u32,
    spawned: Instant,
    exit: watch::Receiver<Option<ExitStatus>>,
    end: Arc<Notify>,
    /// Owns the child, which is killed when dropped.
    guard: JoinHandle<()>,
}

impl Process {
    async fn spawn(binary: &Path, environment: &[(String, String)], log: &File) -> Result<Self> {
        let name = binary.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let api = RuntimeApi::start(&name).await?;
        let spawned = Instant::now();
        // A file takes every line before the answer that follows it; a pipe would have to be read in time.
        let child = Command::new(binary)
            .env_clear()
            .envs(lambda_environment(&name))
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let pid = child.id().ok_or_else(|| anyhow!("the process ended at once"))?;
        let (tell, exit) = watch::channel(None);
        let end = Arc::new(Notify::new());
        let guard = tokio::spawn(guard(child, Arc::clone(&end), tell));
        Ok(Self { api, pid, spawned, exit, end, guard })
    }

    async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            // The guard ends without a word only with the whole runtime.
            Err(_) => ExitStatus::default(),
        }
    }

    async fn ready(&self) -> Result<Duration, FunctionError> {
        let mut phase = self.api.phase();
        let settled = async {
            match phase.wait_for(|phase| !matches!(phase, Phase::Starting)).await.as_deref() {
                Ok(Phase::Ready(at)) => Ok(at.duration_since(self.spawned)),
                Ok(Phase::Failed(body)) => Err(FunctionError::Init(body.to_string())),
                _ => Err(FunctionError::Init("the Runtime API is gone".to_owned())),
            }
        };
        tokio::select! {
            biased;
            settled = settled => settled,
            status = self.exited() => Err(FunctionError::Init(status.to_string())),
            () = sleep(INIT_LIMIT) => Err(FunctionError::Init(format!("not within {INIT_LIMIT:?}"))),
        }
    }

    async fn kill(&self) {
        self.end.notify_one();
        self.exited().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.guard.abort();
    }
}

async fn guard(mut child: Child, end: Arc<Notify>, tell: watch::Sender<Option<ExitStatus>>) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = end.notified() => {
            // Fails only when the process has ended already.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    tell.send_replace(Some(status.unwrap_or_default()));
}

/// What Lambda itself sets, with credentials that open nothing.
fn lambda_environment(function: &str) -> Vec<(&'static str, String)> {
    [
        ("_HANDLER", "bootstrap"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_NAME", function),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{function}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0"),
        ("AWS_REGION", REGION),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-the-harness"),
        ("AWS_SESSION_TOKEN", "token-of-the-harness"),
        ("LANG", "en_US.UTF-8"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("TZ", ":UTC"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}
