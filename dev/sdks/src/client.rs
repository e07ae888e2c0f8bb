//! The SDKs that run here: installed under Cargo's target folder, and run.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use local::{Project, install};
use tokio::process::Command;

use crate::expect::Event;
use crate::recorder::{Recorder, Upstream};
use crate::run::{Run, Wanted};

/// Longer than any takes that does not try again and again.
const DEADLINE_AFTER: Duration = Duration::from_secs(60);

/// A program under `clients/`, ready to run. Its arguments are host, write key and name, then its options.
pub struct Client {
    /// The SDK's package.
    sdk: &'static str,
    version: String,
    /// What its users, groups and addresses are called by.
    name: String,
    /// With what comes before the arguments.
    command: Vec<OsString>,
    option: Option<&'static str>,
    pub gzip: bool,
    /// Whether the client gives its events messageIds.
    has_message_ids: bool,
}

impl Client {
    /// Installs what is missing.
    pub async fn install(project: &Project) -> Result<Vec<Client>> {
        let sources = project.root.join("dev/sdks/clients");
        let target = project.target.join("sdks");
        let node =
            |sdk, folder: &'static str, name| node(sdk, sources.join(folder), target.join(folder), name);
        let (scripts, environments) = (sources.join("python"), target.clone());
        let python = |pins| python(&scripts, &environments, pins);
        let mut clients = vec![
            node("@segment/analytics-node", "node", "node-current").await?,
            node("analytics-node", "node-legacy", "node-legacy").await?,
        ];
        clients.extend(python("current").await?);
        clients.extend(python("2.3.4").await?);
        clients.extend(rust(project).await?);
        Ok(clients)
    }

    async fn run(&self, upstream: &Upstream, write_key: &str, wanted: Wanted) -> Result<Run> {
        let recorder = Recorder::start(upstream).await?;
        let name = match wanted {
            Wanted::Delivery => self.name.clone(),
            Wanted::Refusal => format!("{}-refused", self.name),
        };
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).arg(format!("http://{}", recorder.address)).args([write_key, &name]);
        // A proxy that the user has is not for loopback.
        command
            .args(self.option)
            .envs([("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")])
            .env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let complaint = match tokio::time::timeout(DEADLINE_AFTER, command.output()).await {
            Ok(output) => {
                let output = output.with_context(|| format!("cannot run {:?}", self.command))?;
                let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                (!output.status.success()).then(|| format!("the client failed ({}): {error}", output.status))
            }
            Err(_) => Some(format!("the client did not end within {DEADLINE_AFTER:?}")),
        };
        Ok(Run {
            sdk: self.option.map_or_else(|| self.sdk.to_owned(), |option| format!("{}, {option}", self.sdk)),
            version: self.version.clone(),
            gzip: self.gzip,
            wanted,
            exchanges: recorder.exchanges(),
            events: Event::all(&name, self.has_message_ids),
            skipped: 0,
            complaint,
        })
    }
}

/// Runs them side by side; then each with a wrong key.
pub async fn run_all(clients: &[Client], upstream: &Upstream, write_key: &str) -> Result<Vec<Run>> {
    let all = |key, wanted| try_join_all(clients.iter().map(move |client| client.run(upstream, key, wanted)));
    let mut runs = all(write_key, Wanted::Delivery).await?;
    runs.extend(all("wrong-key", Wanted::Refusal).await?);
    Ok(runs)
}

async fn node(sdk: &'static str, source: PathBuf, target: PathBuf, name: &str) -> Result<Client> {
    let lock = read(&source.join("package-lock.json"))?;
    install::once(&target, &lock, sdk, async || {
        let mut node = Command::new("node");
        node.args(["-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"]).stderr(Stdio::null());
        let is_new_enough = node.status().await.is_ok_and(|status| status.success());
        ensure!(is_new_enough, "Node.js 20 or newer is needed, as node and npm: {sdk} is written for it");
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), target.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        let installed = install::run(npm.current_dir(&target))
            .await
            .context("npm comes with Node.js, on Debian and Ubuntu in a package of its own")?;
        ensure!(installed.success(), "npm could not install {sdk}; its message is above");
        Ok(())
    })
    .await?;
    // Node looks for packages beside the program.
    let program = target.join("client.js");
    fs::copy(source.join("client.js"), &program)?;
    Ok(Client {
        sdk,
        version: pin(&read(&source.join("package.json"))?, &format!("\"{sdk}\": \""))?,
        name: name.to_owned(),
        command: vec!["node".into(), program.into()],
        option: None,
        gzip: false,
        has_message_ids: true,
    })
}

async fn python(source: &Path, target: &Path, pins: &str) -> Result<[Client; 2]> {
    const SDK: &str = "segment-analytics-python";
    let requirements = read(&source.join(format!("requirements-{pins}.txt")))?;
    let version = pin(&requirements, &format!("{SDK}=="))?;
    let venv = target.join(format!("python-{pins}"));
    let python = install::venv(&venv, &requirements, &format!("{SDK} {version}")).await?;
    Ok([None, Some("gzip")].map(|option| Client {
        sdk: SDK,
        version: version.clone(),
        name: format!("python-{pins}{}", if option.is_some() { "-gzip" } else { "" }),
        command: vec![python.clone().into(), source.join("client.py").into()],
        option,
        gzip: option.is_some(),
        has_message_ids: true,
    }))
}

async fn rust(project: &Project) -> Result<[Client; 2]> {
    let [program] = harness::build(["sdk-rust"], "dev").await?;
    let manifest = read(&project.root.join("dev/sdks/clients/rust/Cargo.toml"))?;
    let version = pin(&manifest, "segment = { version = \"=")?;
    Ok([None, Some("batch")].map(|option| Client {
        sdk: "segment (Rust)",
        version: version.clone(),
        name: format!("rust{}", if option.is_some() { "-batch" } else { "" }),
        command: vec![program.clone().into()],
        option,
        gzip: false,
        has_message_ids: false,
    }))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The version that a list of packages has after these words.
fn pin(list: &str, words: &str) -> Result<String> {
    let (_, rest) = list.split_once(words).with_context(|| format!("nothing is pinned by {words}"))?;
    Ok(rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '.').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_is_pinned() {
        assert_eq!(pin("# x\nsdk==2.4.0\n\nbackoff==2.2.1\n", "sdk==").unwrap(), "2.4.0");
        assert_eq!(pin(r#"{"a": {"sdk": "3.1.0"}}"#, "\"sdk\": \"").unwrap(), "3.1.0");
        assert!(pin("sdk>=2", "sdk==").is_err());
    }
}
