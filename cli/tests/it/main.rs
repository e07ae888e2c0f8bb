//! The built command against the template on this machine, by `--local`: the docs' examples ([`commands`]), the form of
//! what scripts read ([`documents`]), and the commands that must not lose anything.

mod commands;
mod doctor;
mod documents;
mod letters;
mod open;
mod relay;
mod requeue;
mod rights;
mod story;
mod token;

use std::time::Duration;

use tokio::sync::Mutex;

const DEADLINE_AFTER: Duration = Duration::from_secs(60);
const WEBHOOK: &str = r#"{"type":"opened","user":{"id":1,"email":"steve@example.com"}}"#;

/// `--local` finds the stack that started last.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
