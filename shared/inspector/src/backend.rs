//! What the page asks of the stack behind it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::feed::Feed;
use crate::model::state::Stack;

/// What somebody does on the page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Post this to `ingest`.
    Send {
        /// As whom.
        route: Route,
        /// The body.
        body: String,
    },
    /// Have a destination's stand-in answer otherwise.
    Behave {
        /// The destination's name.
        destination: String,
        /// How.
        behaviour: Behaviour,
    },
    /// Pause a destination, or resume it.
    Pause {
        /// The destination's name.
        destination: String,
        /// Whether it is to be paused.
        is_paused: bool,
    },
    /// Have every event that waits for its next try come now.
    Hurry,
    /// Put the dead letters of an event back on the queue.
    Redrive(String),
}

/// As whom something is posted to `ingest`: by which route, and with which token or key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `/vero`
    Vero,
    /// `/segment`
    Segment,
    /// `/v1`
    Sdk,
}

impl Route {
    /// Each, with its words on the page.
    pub const ALL: [(Route, &'static str); 3] = [
        (Route::Vero, "a webhook of Vero"),
        (Route::Segment, "an event through Segment"),
        (Route::Sdk, "an event of an SDK"),
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Route::Vero => "vero",
            Route::Segment => "segment",
            Route::Sdk => "sdk",
        }
    }

    /// The route that a first-party event came by.
    pub fn of_first_party(through_segment: bool) -> Self {
        if through_segment { Route::Segment } else { Route::Sdk }
    }

    /// By which name `ingest` knows a first-party event again: it makes its id of the route's key and of this `messageId`.
    pub fn name_of(self, message_id: &str) -> String {
        format!("{}:{message_id}", self.name())
    }
}

/// How a destination's stand-in answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// As the destination does.
    #[default]
    Well,
    /// 500: the destination is down.
    Down,
    /// 401: the key is wrong.
    Unauthorized,
    /// 429 with Retry-After.
    Limited,
    /// It never answers.
    Hang,
    /// 400 to the next request, and then as the destination does.
    RefuseNext,
}

impl Behaviour {
    /// Each, with its words on the page.
    pub const ALL: [(Behaviour, &'static str); 6] = [
        (Behaviour::Well, "answers well"),
        (Behaviour::Down, "answers 500"),
        (Behaviour::Unauthorized, "answers 401"),
        (Behaviour::Limited, "answers 429, Retry-After: 20"),
        (Behaviour::Hang, "never answers"),
        (Behaviour::RefuseNext, "refuses the next event (400)"),
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Behaviour::Well => "well",
            Behaviour::Down => "down",
            Behaviour::Unauthorized => "unauthorized",
            Behaviour::Limited => "limited",
            Behaviour::Hang => "hang",
            Behaviour::RefuseNext => "refuse_next",
        }
    }
}

/// Why something could not be done, in words for the page. It never has a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A destination's stand-in that can be told how to answer.
#[derive(Debug, Clone)]
pub struct StandIn {
    /// The destination's name.
    pub destination: String,
    /// How it answers now.
    pub behaviour: Behaviour,
}

/// Something to send.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its file's name.
    pub name: String,
    /// As whom it is sent.
    pub route: Route,
    /// The body.
    pub body: String,
}

/// What can be tried on this machine, and not with a deployed stack.
#[derive(Debug, Clone, Default)]
pub struct Workbench {
    /// What can be sent.
    pub samples: Vec<Sample>,
    /// The destinations that are stand-ins.
    pub stand_ins: Vec<StandIn>,
    /// The URL that Vero would post to.
    pub webhook_url: String,
}

/// The stack behind the page.
pub trait Backend: Send + Sync + 'static {
    /// The events that the page shows.
    fn feed(&self) -> &Arc<Feed>;

    /// The stack's settings as they are now.
    fn stack(&self) -> Stack;

    /// What the page cannot show, and why.
    fn limits(&self) -> Vec<String>;

    /// Whether the data of events may be shown, with the addresses and names in it.
    fn shows_addresses(&self) -> bool;

    /// What can be tried; `None` for a deployed stack.
    fn workbench(&self) -> Option<Workbench>;

    /// Looks at an event again, and puts into the feed what there is of it.
    fn look(&self, id: &str) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Does what somebody asked for, and says in words what was done.
    fn act(&self, action: Action) -> impl Future<Output = Result<String, Problem>> + Send;
}
