//! Tests of the product as a whole. `tests/watch.rs` is a binary of its own, since it needs cargo-lambda.
//!
//! - On the template, deployed on this machine: [`pipeline`], one webhook of each type; [`archive`], queries and replay;
//!   [`deployed`], what a security review would ask for.
//! - [`cases`]: what others reported of their relays, through the built functions.
//! - [`template`]: the numbers in template.yaml. [`blueprint`]: the published schema.

mod archive;
mod blueprint;
mod cases;
mod deployed;
mod pipeline;
mod template;

use std::time::Duration;

use tokio::sync::Mutex;

/// A cold start, a busy machine and MiniStack's polling together.
const DEADLINE_AFTER: Duration = Duration::from_secs(60);

/// Two stacks would write the same log of MiniStack.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
