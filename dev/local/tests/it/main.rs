//! What only tests ask of the deployed stack: the docs' commands ([`commands`]), the command `relay` ([`relay`]) and the
//! roles' rights ([`permissions`]).

mod commands;
mod permissions;
mod relay;

use std::time::Duration;

use tokio::sync::Mutex;

const DEADLINE_AFTER: Duration = Duration::from_secs(60);

/// Two stacks would write the same log of MiniStack.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
