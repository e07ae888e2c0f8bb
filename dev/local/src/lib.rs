//! The whole product on one machine, from the template that goes to production.
//!
//! [`Stack::start`] installs MiniStack, a stand-in for AWS, into a virtual environment of its own ([`install`]),
//! builds the functions (`project`), starts MiniStack (`ministack`), starts stand-ins for Segment and Vero
//! (`receivers`), deploys `template.yaml` (`deploy`, by the calls in `aws`) and starts a proxy before it (`proxy`).
//! Webhooks posted there run through the deployed functions; what arrives is in the [`Journal`]. [`samples`]
//! posts the files under `events/` and compares. The archive is queried and replayed by `archive`, and [`rehearsal`]
//! shows it. `inspect` reads back what was deployed, and `logs` what the functions write.
//!
//! `page` is what the inspector shows of all this.
//!
//! `options` is the command line, `project` the repository. [`install`] and [`http`], which is HTTP on loopback, serve
//! other tools, too.

mod archive;
mod aws;
mod deploy;
pub mod http;
mod inspect;
pub mod install;
mod journal;
mod logs;
mod ministack;
mod options;
mod page;
mod project;
mod proxy;
mod receivers;
pub mod rehearsal;
pub mod samples;
mod stack;

pub use archive::Table;
pub use inspect::{Call, Service};
pub use journal::{Delivery, Destination, Journal};
pub use logs::Logs;
pub use options::Options;
pub use project::Project;
pub use receivers::{SEGMENT_WRITE_KEY, VERO_AUTH_TOKEN};
pub use stack::{Settings, Stack};
