//! Faults that are planted in a copy of the code, to see that the simulation finds them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// Where this crate is.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// How the first line of a patch begins, before the seed that found the fault.
const FOUND_BY: &str = "Found by seed ";

/// Plants each fault whose name contains a text, in turn, and plays the seed of its patch. If that seed no longer finds the
/// fault, because the world has grown, it plays up to so many seeds. It writes the one that does into the patch.
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
        build(&copy).with_context(|| name(&patch))?;
        let found = match seed(&patch)?.filter(|seed| *seed < seeds) {
            Some(seed) => first_failing(&copy, seed, 1)?,
            None => None,
        };
        let found = match found {
            Some(found) => Some(found),
            None => first_failing(&copy, 0, seeds)?,
        };
        match found {
            Some((seed, violation)) => {
                keep(&patch, seed)?;
                println!("{}: seed {seed}: {violation}", name(&patch));
            }
            None => {
                missed += 1;
                println!("{}: NOT FOUND", name(&patch));
            }
        }
    }
    run(git(&copy).args(["checkout", "--quiet", "--", "."]))?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(copy: &Path) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(copy).args(["build", "--quiet", "--profile", "simulation", "--package", "simulation"]);
    // A planted fault may leave something unused.
    let built = cargo.env("CARGO_TARGET_DIR", copy.join("target")).output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(())
}

/// The first of some seeds that fails in the copy, and how.
fn first_failing(copy: &Path, from: u64, seeds: u64) -> Result<Option<(u64, String)>> {
    let mut simulation = Command::new(copy.join("target/simulation/simulation"));
    simulation.args(["--first", "--from", &from.to_string(), "--seeds", &seeds.to_string()]);
    let told = simulation.output()?.stdout;
    let told = String::from_utf8_lossy(&told);
    let failed = told.lines().filter_map(|line| {
        let (seed, violation) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some((seed.parse().ok()?, violation.to_owned()))
    });
    Ok(failed.min())
}

/// The seed that a patch names.
fn seed(patch: &Path) -> Result<Option<u64>> {
    let text = std::fs::read_to_string(patch)?;
    Ok(text.lines().next().and_then(|line| line.strip_prefix(FOUND_BY)?.parse().ok()))
}

/// Writes into a patch which seed finds its fault.
fn keep(patch: &Path, seed: u64) -> Result<()> {
    let text = std::fs::read_to_string(patch)?;
    let diff = text.find("diff --git").map_or(&*text, |at| &text[at..]);
    Ok(std::fs::write(patch, format!("{FOUND_BY}{seed}\n{diff}"))?)
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
    fn every_patch_applies_and_names_a_seed_that_ci_plays() {
        let root = Path::new(HERE).join("../..");
        let patches = patches().unwrap();
        assert!(patches.len() >= 20);
        for patch in patches {
            let seed = seed(&patch).unwrap();
            assert!(seed.is_some_and(|seed| seed < 300), "{}: {seed:?}", name(&patch));
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
