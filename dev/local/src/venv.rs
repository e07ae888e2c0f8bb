//! MiniStack's private virtual environment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::project::Project;

const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The Python interpreter that has MiniStack; installed first where it is missing or of another version.
pub(crate) async fn python(project: &Project) -> Result<PathBuf> {
    let venv = project.state.join("venv");
    let python = venv.join("bin/python");
    // Written last: what it says is completely there.
    let stamp = venv.join("installed.txt");
    let installed = || fs::read_to_string(&stamp).is_ok_and(|text| text == REQUIREMENTS);
    if installed() {
        return Ok(python);
    }
    let _lock = lock(&project.state.join("install.lock")).await?;
    if !installed() {
        eprintln!("Installing MiniStack into {} (once, half a minute)", venv.display());
        install(&venv, &python).await?;
        fs::write(&stamp, REQUIREMENTS)?;
    }
    Ok(python)
}

async fn install(venv: &Path, python: &Path) -> Result<()> {
    let system = system_python().await?;
    let made = run(Command::new(system).args(["-m", "venv", "--clear"]).arg(venv)).await?;
    ensure!(
        made.success(),
        "`{system} -m venv` failed. Debian and Ubuntu keep it in a package of its own: install python3-venv"
    );
    let requirements = venv.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    let installed = run(pip.arg(&requirements)).await?;
    ensure!(installed.success(), "pip could not install MiniStack; its message is above");
    Ok(())
}

/// The first interpreter that is new enough.
async fn system_python() -> Result<&'static str> {
    for name in ["python3", "python3.13", "python3.12", "python3.11", "python"] {
        let mut command = Command::new(name);
        command.args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).stderr(Stdio::null());
        if command.status().await.is_ok_and(|status| status.success()) {
            return Ok(name);
        }
    }
    bail!("`cargo local` needs Python 3.10 or newer as python3: the local stand-in for AWS is written in it")
}

async fn run(command: &mut Command) -> Result<ExitStatus> {
    let status = command.stdout(Stdio::inherit()).stderr(Stdio::inherit()).kill_on_drop(true).status().await;
    status.with_context(|| format!("cannot run {:?}", command.as_std().get_program()))
}

/// Waits until no other `cargo local` installs; the lock ends with the file.
async fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    while file.try_lock().is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(file)
}
