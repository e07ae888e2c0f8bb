//! MiniStack as a child process that never outlives this one.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::aws::{Cloud, REGION};
use crate::http::{self, Request};
use crate::project::Project;

/// It takes half a second; a busy machine takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a log is of use to anybody.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A running MiniStack. Dropping it ends it, the functions that it runs and its temporary files.
#[derive(Debug)]
pub(crate) struct MiniStack {
    child: Child,
    pub(crate) cloud: Cloud,
    pub(crate) log: PathBuf,
}

impl MiniStack {
    /// Starts MiniStack on a free port and waits until it answers.
    pub(crate) async fn start(python: &Path, project: &Project) -> Result<MiniStack> {
        remove_old_logs(&project.state);
        let mut tries = 0;
        loop {
            let (listener, address) = http::listen(None).await?;
            drop(listener);
            let mut ministack = Self::spawn(python, project, address)?;
            if ministack.ready().await? {
                return Ok(ministack);
            }
            // Most likely somebody else took the port in between.
            tries += 1;
            if tries == 3 {
                bail!(
                    "MiniStack ended as soon as it was started; it says why in {}",
                    ministack.log.display()
                );
            }
        }
    }

    fn spawn(python: &Path, project: &Project, address: SocketAddr) -> Result<MiniStack> {
        // `supervise.py` removes it, even when this process is killed.
        let home = tempfile::Builder::new().prefix("run-").tempdir_in(&project.state)?.keep();
        // Each stack has its own, since several run side by side. It stays, for whoever looks for what went wrong.
        let log = home.with_extension("log");
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(python);
        command.arg(project.root.join("dev/local/supervise.py")).arg(&home);
        // The functions inherit MiniStack's environment, so nothing of the user's own may be in it: a
        // SEGMENT_WRITE_KEY or an AWS_PROFILE would change what they do.
        command.env_clear();
        for name in ["PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            command.envs(harness::variable(name).map(|value| (name, value)));
        }
        command
            .envs([("BIND_HOST", "127.0.0.1"), ("MINISTACK_HOST", "127.0.0.1"), ("MINISTACK_REGION", REGION)])
            .env("GATEWAY_PORT", address.port().to_string())
            // MiniStack hands this on to the functions, whose AWS clients then call it.
            .env("AWS_ENDPOINT_URL", format!("http://{address}"))
            .envs([("HOME", &home), ("TMPDIR", &home), ("STATE_DIR", &home), ("S3_DATA_DIR", &home)])
            // Listeners and services of no use here.
            .envs([("IOT_MTLS_ENABLED", "0"), ("SFTP_ENABLED", "0"), ("DOCKER_HOST", "unix:///nonexistent")])
            .env(
                "SERVICES",
                "athena,cloudformation,cloudwatch,events,firehose,glue,iam,lambda,logs,s3,sns,sqs,ssm,sts",
            )
            // As at AWS: queries ask for the date.
            .env("TZ", "UTC")
            // Nothing is written beside the sources.
            .envs([("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")]);
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot run {}", python.display()))?;
        Ok(MiniStack { child, cloud: Cloud(address), log })
    }

    /// Waits until MiniStack answers; false if it ended instead.
    async fn ready(&mut self) -> Result<bool> {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            let mut request = Request::default();
            *request.uri_mut() = hyper::Uri::from_static("/_ministack/health");
            let answer = http::send(self.cloud.0, request).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                bail!("MiniStack does not answer; see {}", self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(false)
    }
}

/// Makes room. What cannot be removed stays: another stack that starts may have been first.
fn remove_old_logs(state: &Path) {
    let paths = fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        let written = fs::metadata(&log).and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_file(&log);
        }
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        drop(self.child.stdin.take()); // the sign to end, see supervise.py
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            #[expect(
                clippy::disallowed_methods,
                reason = "no future can be awaited when something is dropped"
            )]
            std::thread::sleep(Duration::from_millis(10));
        }
        // Not its functions then, but better than nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
