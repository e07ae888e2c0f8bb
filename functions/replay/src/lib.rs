//! `replay` reads the archive and the log of `ingest`, puts events on the queue again, and deletes users from the archive.
//!
//! The way of an invocation: `invocation` reads the event; `handler` runs its task until the task is done or
//! `time_limit` says that time is up. Then `handler` puts a continuation on this function's own queue, which invokes the
//! function again.
//!
//! | module | what it does |
//! | --- | --- |
//! | `handler` | runs an invocation: task, continuation, response |
//! | `invocation`, `task`, `request_fields` | the event: who invoked, which task, how far it has come |
//! | `replay` | task: events of the archive go to some destinations again |
//! | `requeue` | task: webhooks that only the log of `ingest` has go on the queue |
//! | `forget` | task: the rows of a user are deleted from the archive |
//! | `archive` | the bucket: keys, objects, lines, rows |
//! | `sender`, `rate_limiter` | messages go on the queue, in batches and at a limited rate |
//! | `time_limit`, `progress_log` | when a task hands over; a log line while it runs |
//! | `id_hash` | ids in little memory |
//! | `config`, `start`, `error` | the environment; why the function cannot start; why an invocation failed |

mod archive;
mod config;
mod error;
mod forget;
mod handler;
mod id_hash;
mod invocation;
mod progress_log;
mod rate_limiter;
mod replay;
mod request_fields;
mod requeue;
mod sender;
mod start;
mod task;
mod time_limit;

pub use error::InvocationError;
pub use handler::{METRICS, Replay};
pub use start::StartError;
