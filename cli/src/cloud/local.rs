//! The `cargo local` that runs on this machine.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::Error;

/// What `cargo local` says of itself, in `local/running.json` of the repository's target folder.
#[derive(Debug, Clone, Deserialize)]
pub struct Local {
    /// The URL of its stand-in for AWS.
    pub aws: String,
    /// The stand-in's region.
    pub region: String,
    /// Where the Function URL is to be reached: base URL without a slash at its end.
    pub url: String,
    /// The token that webhooks come with.
    pub token: String,
}

impl Local {
    /// By this access key the stand-in knows whose calls these are.
    pub const ACCESS_KEY: &str = "relay";

    /// Looks in this folder's `target` and in those above it, or where `CARGO_TARGET_DIR` says.
    ///
    /// # Errors
    /// If no `cargo local` of the repository runs.
    pub fn find() -> Result<Self, Error> {
        let here = std::env::current_dir().map_err(|error| Error::Io("this folder".to_owned(), error))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "where Cargo puts what it builds, and `cargo local` with it"
        )]
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let mut folders: Box<dyn Iterator<Item = PathBuf>> = match target {
            Some(target) => Box::new(std::iter::once(here.join(target))),
            None => Box::new(here.ancestors().map(|folder| folder.join("target"))),
        };
        let file = folders.find_map(|folder| Some(folder.join(FILE)).filter(|file| file.is_file()));
        let not_found = || {
            Error::NotFound(
                "no `cargo local` runs: start it in another terminal, and run relay in the folder of the repository"
                    .to_owned(),
            )
        };
        let file: PathBuf = file.ok_or_else(not_found)?;
        let text = fs::read_to_string(&file).map_err(|error| Error::Io(file.display().to_string(), error))?;
        serde_json::from_str(&text).map_err(|_| not_found())
    }
}

/// In the target folder.
const FILE: &str = "local/running.json";
