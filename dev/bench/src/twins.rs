//! `ingest` in ten lines of Python and of JavaScript. They run where `dev/bench/twins/install` has been run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A twin, as it lies in the repository.
pub struct Twin {
    /// What it is written in.
    pub language: &'static str,
    source: &'static str,
    /// The folder that its interpreter wants in the path, or a file that is there when its packages are.
    packages: &'static str,
}

/// A twin that can be started.
pub struct Installed {
    /// The program.
    pub program: PathBuf,
    packages: PathBuf,
}

/// Both.
pub fn all() -> [Twin; 2] {
    [
        Twin { language: "Python", source: "python/ingest.py", packages: "python/bin" },
        Twin { language: "JavaScript", source: "node/ingest.mjs", packages: "node/node_modules" },
    ]
}

impl Twin {
    /// The program, beside its packages, where Node looks for them; none where there are no packages.
    pub fn installed(&self, target: &Path) -> Result<Option<Installed>> {
        let twins = target.join("twins");
        let (program, packages) = (twins.join(self.source), twins.join(self.packages));
        if !packages.is_dir() {
            eprintln!("No twin in {}: dev/bench/twins/install installs it", self.language);
            return Ok(None);
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("twins").join(self.source);
        fs::copy(&source, &program).with_context(|| format!("cannot copy {}", source.display()))?;
        Ok(Some(Installed { program, packages }))
    }
}

impl Installed {
    /// Where its first line finds the interpreter: the virtual environment's before the user's own.
    pub fn path(&self) -> String {
        format!("{}:{}", self.packages.display(), std::env::var("PATH").unwrap_or_default())
    }
}
