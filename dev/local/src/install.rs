//! What is installed once, in pinned versions, into folders of its own under Cargo's target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

/// Runs `install`, unless what `folder` holds was installed from these very `pins`.
pub async fn once(
    folder: &Path,
    pins: &str,
    what: &str,
    install: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    // Written last: what it says is completely there.
    let stamp = folder.join("installed.txt");
    let installed = || fs::read_to_string(&stamp).is_ok_and(|text| text == pins);
    if installed() {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let _lock = lock(&folder.with_file_name("install.lock")).await?;
    if !installed() {
        eprintln!("Installing {what} into {} (once, half a minute)", folder.display());
        install().await?;
        fs::write(&stamp, pins)?;
    }
    Ok(())
}

/// The interpreter of the virtual environment in `folder`, which is made from `requirements` where it is missing or
/// of others.
pub async fn venv(folder: &Path, requirements: &str, what: &str) -> Result<PathBuf> {
    let python = folder.join("bin/python");
    once(folder, requirements, what, async || {
        let system = system_python(what).await?;
        let made = run(Command::new(system).args(["-m", "venv", "--clear"]).arg(folder)).await?;
        ensure!(
            made.success(),
            "`{system} -m venv` failed. Debian and Ubuntu keep it in a package of its own: install python3-venv"
        );
        let list = folder.join("requirements.txt");
        fs::write(&list, requirements)?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        let installed = run(pip.arg(&list)).await?;
        ensure!(installed.success(), "pip could not install {what}; its message is above");
        Ok(())
    })
    .await?;
    Ok(python)
}

/// Copies the programs of `source` to `folder`, with the packages that its `package-lock.json` names: Node looks for
/// packages beside a program.
pub async fn npm(source: &Path, folder: &Path, what: &str) -> Result<()> {
    let lock = fs::read_to_string(source.join("package-lock.json"))
        .with_context(|| format!("{} has no package-lock.json", source.display()))?;
    let copy = || -> Result<()> {
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(())
    };
    once(folder, &lock, what, async || {
        copy()?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        let installed = run(npm.current_dir(folder)).await?;
        ensure!(installed.success(), "npm could not install {what}; its message is above");
        Ok(())
    })
    .await?;
    copy()
}

/// Runs a program whose messages are for the user.
pub async fn run(command: &mut Command) -> Result<ExitStatus> {
    let status = command.stdout(Stdio::inherit()).stderr(Stdio::inherit()).kill_on_drop(true).status().await;
    status.with_context(|| format!("cannot run {:?}", command.as_std().get_program()))
}

/// The first interpreter that is new enough.
async fn system_python(what: &str) -> Result<&'static str> {
    for name in ["python3", "python3.13", "python3.12", "python3.11", "python"] {
        let mut command = Command::new(name);
        command.args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).stderr(Stdio::null());
        if command.status().await.is_ok_and(|status| status.success()) {
            return Ok(name);
        }
    }
    bail!("Python 3.10 or newer is needed as python3: {what} is written in it")
}

/// Waits until nobody else installs; the lock ends with the file.
async fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    while file.try_lock().is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(file)
}
