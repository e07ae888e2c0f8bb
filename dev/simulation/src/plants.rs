//! Faults that are planted in a copy of the code, to see that the simulation finds them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// Where this crate is.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Plants each fault whose name contains a text, in turn, and plays up to so many seeds.
///
/// # Errors
/// If the copy cannot be made, a patch no longer applies, or what it makes does not compile.
#[expect(clippy::print_stdout, reason = "the report of a command")]
pub fn all(named: &str, seeds: u64) -> Result<ExitCode> {
    let root = Path::new(HERE).join("../..").canonicalize()?;
    let copy = root.join("target/plants");
    if !copy.exists() {
        run(git(&root).args(["worktree", "add", "--force", "--detach"]).arg(&copy))?;
    }
    run(git(&copy).args(["checkout", "--quiet", "--force", "--detach"]).arg(head(&root)?))?;
    let mut missed = 0;
    for patch in patches()?.into_iter().filter(|patch| name(patch).contains(named)) {
        run(git(&copy).args(["checkout", "--quiet", "--", "."]))?;
        run(git(&copy).arg("apply").arg(&patch))?;
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&copy).args([
            "build",
            "--quiet",
            "--profile",
            "simulation",
            "--package",
            "simulation",
        ]);
        // A planted fault may leave something unused.
        let built = cargo.env("CARGO_TARGET_DIR", copy.join("target")).output()?;
        ensure!(built.status.success(), "{}: {}", name(&patch), String::from_utf8_lossy(&built.stderr));
        let played = Command::new(copy.join("target/simulation/simulation"))
            .args(["--first", "--seeds", &seeds.to_string()])
            .output()?;
        let told = String::from_utf8_lossy(&played.stdout).into_owned();
        let found = told.lines().find(|line| line.starts_with("seed ")).unwrap_or("NOT FOUND");
        missed += u32::from(found == "NOT FOUND");
        println!("{}: {found}", name(&patch));
    }
    run(git(&copy).args(["checkout", "--quiet", "--", "."]))?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The patches, in the order of their names.
fn patches() -> Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(Path::new(HERE).join("plants"))?;
    let mut patches: Vec<PathBuf> =
        files.map(|file| Ok(file?.path())).collect::<Result<_, std::io::Error>>()?;
    patches.retain(|file| file.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    Ok(patches)
}

fn name(patch: &Path) -> String {
    patch.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn head(root: &Path) -> Result<String> {
    let head = git(root).args(["rev-parse", "HEAD"]).output()?;
    Ok(String::from_utf8(head.stdout)?.trim().to_owned())
}

fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(directory);
    git
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_still_applies() {
        let root = Path::new(HERE).join("../..");
        let patches = patches().unwrap();
        assert!(patches.len() >= 20);
        for patch in patches {
            let checked = git(&root).args(["apply", "--check"]).arg(&patch).output().unwrap();
            assert!(
                checked.status.success(),
                "{}: {}",
                name(&patch),
                String::from_utf8_lossy(&checked.stderr)
            );
        }
    }
}
