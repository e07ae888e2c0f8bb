//! `ingest` in ten lines of Python and of JavaScript. They run where `dev/bench/twins/install` has been run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::Sqs;

use crate::binaries::Binaries;
use crate::scene::{Program, Scene, Start, invoke, median, memory, starts, webhook};
use crate::table::{Figure, Row};

/// They take a hundred times as long as `ingest`.
const STARTS: usize = 10;
/// Warm answers of each that count, and before these so many that do not.
const ANSWERS: usize = 500;
const UNCOUNTED: usize = 50;

/// `ingest` or one of its twins, as it was measured.
pub struct Contender {
    pub language: &'static str,
    /// From spawning the process to its first answer.
    pub start: Duration,
    pub answer: Duration,
    /// Resident memory after the warm answers.
    pub memory: Figure,
}

/// `ingest`, which comes first, and those of its twins that are installed, measured in turn.
pub async fn measure(binaries: &Binaries) -> Result<Vec<Contender>> {
    let path = path();
    let mut racers = vec![Racer { language: "Rust", binary: binaries.ingest.clone(), path }];
    for twin in TWINS {
        match twin.installed(&binaries.target)? {
            Some(racer) => racers.push(racer),
            None => eprintln!("No twin in {}: dev/bench/twins/install installs it", twin.language),
        }
    }
    let scene = Scene::of(Sqs::start().await?);
    let variables: Vec<_> = racers.iter().map(|racer| [("PATH", racer.path.as_str())]).collect();
    let programs = racers.iter().zip(&variables);
    let programs: Vec<_> =
        programs.map(|(racer, variables)| Program { binary: &racer.binary, variables }).collect();
    let starts = starts(&scene, &programs, STARTS, None).await?;
    let mut functions = Vec::new();
    for program in &programs {
        functions.push(scene.function(program.binary, program.variables).await?);
    }
    let mut answers = vec![Vec::new(); programs.len()];
    let event = webhook();
    for request in 0..UNCOUNTED + ANSWERS {
        for (function, answers) in functions.iter().zip(&mut answers) {
            let (_, time) = invoke(function, &event).await?;
            if request >= UNCOUNTED {
                answers.push(time);
            }
        }
    }
    let measured = racers.iter().zip(starts).zip(answers).zip(&functions);
    let contender = |(((racer, starts), answers), function): (((&Racer, Vec<Start>), _), _)| {
        let start = median(starts.iter().map(Start::whole));
        Ok(Contender { language: racer.language, start, answer: median(answers), memory: memory(function)? })
    };
    measured.map(contender).collect()
}

/// Where this machine's programs are.
fn path() -> String {
    harness::variable("PATH").unwrap_or_default().to_string_lossy().into_owned()
}

/// Lines of the table: each twin beside `ingest`.
pub fn rows(contenders: &[Contender]) -> Vec<Row> {
    let mut rows = Vec::new();
    for twin in TWINS {
        let what = |figure| format!("its twin in {}, {figure}", twin.language);
        let found = contenders.iter().find(|contender| contender.language == twin.language);
        let (Some(twin), Some(ingest)) = (found, contenders.first()) else {
            rows.push(Row::not_measured(what("start to first answer")).at_least_times(30.0));
            continue;
        };
        let row = |name, twin, ingest| Row::new(what(name), twin).beside(ingest, "ingest");
        let start = row("start to first answer", Figure::Time(twin.start), Figure::Time(ingest.start));
        rows.push(start.at_least_times(30.0));
        rows.push(row("warm answer", Figure::Time(twin.answer), Figure::Time(ingest.answer)));
        rows.push(row("resident", twin.memory, ingest.memory));
    }
    rows
}

/// Whether nobody is missing.
pub fn all_are(contenders: &[Contender]) -> bool {
    contenders.len() == 1 + TWINS.len()
}

/// A twin, as it lies in the repository.
struct Twin {
    language: &'static str,
    source: &'static str,
    /// The folder that its interpreter wants in the path, or one that is there when its packages are.
    packages: &'static str,
}

const TWINS: [Twin; 2] = [
    Twin { language: "Python", source: "python/ingest.py", packages: "python/bin" },
    Twin { language: "JavaScript", source: "node/ingest.mjs", packages: "node/node_modules" },
];

/// What can be started.
struct Racer {
    language: &'static str,
    binary: PathBuf,
    /// Where a twin's first line finds its interpreter.
    path: String,
}

impl Twin {
    /// The program, beside its packages, where Node looks for them; none where there are no packages.
    fn installed(&self, target: &Path) -> Result<Option<Racer>> {
        let twins = target.join("twins");
        let (binary, packages) = (twins.join(self.source), twins.join(self.packages));
        if !packages.is_dir() {
            return Ok(None);
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("twins").join(self.source);
        fs::copy(&source, &binary).with_context(|| format!("cannot copy {}", source.display()))?;
        // The virtual environment's before the user's own.
        let path = format!("{}:{}", packages.display(), path());
        Ok(Some(Racer { language: self.language, binary, path }))
    }
}
