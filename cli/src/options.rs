//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cloud::Group;
use crate::model::time::Span;

/// Operates a stack of vero-relay: looks at it, finds what is wrong, and mends it.
#[derive(Debug, Parser)]
#[command(
    name = "relay",
    version,
    propagate_version = false,
    after_help = "\
Examples:
  relay status                     how the stack is, on one screen
  relay doctor                     what is wrong, and the command that mends it
  relay event 01935f3a-…           what became of an event
  relay letters redrive --reason timeout
  relay --local doctor             the same for the stack of `cargo local`

docs/relay.md describes each command, its JSON and the exit codes."
)]
pub struct Options {
    #[command(flatten)]
    pub target: Target,
    /// Print JSON for scripts
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// Which stack.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The name of the stack
    #[arg(long, global = true, value_name = "NAME", default_value = "vero-relay")]
    pub stack: String,
    /// The profile of AWS's configuration files
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "local")]
    pub profile: Option<String>,
    /// The region of the stack
    #[arg(long, global = true, value_name = "REGION", conflicts_with = "local")]
    pub region: Option<String>,
    /// The stack of the `cargo local` that runs on this machine
    #[arg(long, global = true)]
    pub local: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how the stack is, on one screen
    Status,
    /// Look for everything that may be wrong, and say what mends it
    Doctor(Doctor),
    /// Show events and what became of them on a page in the browser
    Open(Open),
    /// Follow the logs: a line for each batch, failure and refused request
    Tail(Tail),
    /// Tell the story of an event
    Event(Event),
    /// List events of a user, of a type or with a reason
    Events(Events),
    /// Work with dead letters
    #[command(subcommand)]
    Letters(Letters),
    /// Post webhooks from files as Vero does, and follow them
    Send(Send),
    /// Make and rotate tokens
    #[command(subcommand)]
    Token(Token),
    /// Store the key of a destination
    #[command(subcommand)]
    Key(Key),
    /// Check, try and store the blueprint: the rules for webhooks and first-party events
    #[command(subcommand, alias = "blueprint")]
    Rules(Rules),
    /// Check and store the settings of webhook endpoints
    #[command(subcommand)]
    Endpoints(Endpoints),
    /// Pause a destination: what it is owed waits in the queue
    Pause(Destinations),
    /// Resume a paused destination
    Resume(Destinations),
    /// Change parameters of the stack, and keep the others
    Set(Set),
    /// Set back what was changed by hand: the event source, reserved concurrency, and what drifted from the template
    Repair(Consent),
    /// Query the archive
    Query(Query),
    /// Send events of the archive again
    Replay(Replay),
    /// Delete what the archive has of a user
    Forget(Forget),
    /// Queue the webhooks that only the log has
    Requeue(Requeue),
    /// List or put back the rows that Firehose could not place
    #[command(subcommand)]
    Misplaced(Misplaced),
    /// Show the dashboard's figures
    Metrics(Metrics),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay doctor                     exit code 0 if all is well, 5 if something is not
  relay doctor --send              also send a check through the stack; asks for the token")]
pub struct Doctor {
    /// Send a `Vero Relay Check` and follow it; Vero Track skips its type. Asks for the token, but not with --local
    #[arg(long)]
    pub send: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay open
  relay open --since 3d --show-addresses

The page listens on 127.0.0.1, and its URL has a token.")]
pub struct Open {
    /// Events received so long ago at most, such as 30m, 2h or 3d
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub since: Span,
    /// Also show the data of events, with the addresses and names in it
    #[arg(long)]
    pub show_addresses: bool,
    /// The newest so many events of the archive
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub limit: usize,
    /// The page's port; by default any that is free
    #[arg(long)]
    pub port: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay tail
  relay tail --since 1h --reason unauthorized
  relay tail --destination vero_track")]
pub struct Tail {
    /// Only lines about this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// Only lines with this reason
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only lines about this event
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Only this function, instead of ingest and worker
    #[arg(long, value_enum)]
    pub function: Option<Group>,
    /// Begin so long ago, such as 30m, 2h or 3d
    #[arg(long, value_name = "TIME", default_value = "1m")]
    pub since: Span,
    /// Print what is there, and end
    #[arg(long)]
    pub no_follow: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay event 01935f3a-0000-7000-8000-000000000001
  relay event vr-01935f3a-0000-7000-8000-000000000001      a messageId from Segment's debugger")]
pub struct Event {
    /// The event's id, also as Segment's messageId
    pub id: String,
    /// Print the event whole, with the addresses and names in it
    #[arg(long)]
    pub show_addresses: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay events --user 123 --since 2d
  relay events --reason refused --since 12h")]
pub struct Events {
    /// Of the user with this id
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// Of the user with this address
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Received so long ago at most, such as 30m, 2h or 3d
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub since: Span,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// With this reason at some destination
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: usize,
}

#[derive(Debug, Subcommand)]
pub enum Letters {
    /// List dead letters, by reason and destination
    List(LettersList),
    /// Show the dead letters of an event whole
    Show(LettersShow),
    /// Put dead letters back on the queue that they came from
    #[command(after_help = "\
Examples:
  relay letters redrive --all
  relay letters redrive --reason timeout --destination vero_track --older-than 1h")]
    Redrive(LettersRedrive),
    /// Delete dead letters; asks first
    #[command(after_help = "\
Examples:
  relay letters delete --reason not_json
  relay letters delete --id 01935f3a-0000-7000-8000-000000000001")]
    Delete(LettersDelete),
}

#[derive(Debug, Args)]
pub struct LettersList {
    #[command(flatten)]
    pub selection: Selection,
    /// Look at so many letters at most
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct LettersShow {
    /// The event's id, or the message's if the letter has no event
    pub id: String,
    /// Print the event whole, with the addresses and names in it
    #[arg(long)]
    pub show_addresses: bool,
}

#[derive(Debug, Args)]
pub struct LettersRedrive {
    #[command(flatten)]
    pub selection: Selection,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "reason", "destination", "older_than", "newer_than"])]
    pub all: bool,
    /// Only say which ones
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct LettersDelete {
    #[command(flatten)]
    pub selection: Selection,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "reason", "destination", "older_than", "newer_than"])]
    pub all: bool,
    #[command(flatten)]
    pub consent: Consent,
}

/// Which dead letters: those that meet all conditions.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Of this event; may be given again
    #[arg(long = "id", value_name = "ID")]
    pub ids: Vec<String>,
    /// With this reason; `none` for those that SQS moved there
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Owed to this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// Of events received longer ago than this
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<Span>,
    /// Of events received since
    #[arg(long, value_name = "TIME")]
    pub newer_than: Option<Span>,
}

/// For what cannot be undone, or changes the stack.
#[derive(Debug, Clone, Default, Args)]
pub struct Consent {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay send events/vero-opened.json
  relay send --local events/vero-*.json

The token is asked for. A script gives it in the variable RELAY_TOKEN.")]
pub struct Send {
    /// Files with a webhook each
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Do not wait for what becomes of them
    #[arg(long)]
    pub no_follow: bool,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token and its digest; changes nothing
    New,
    /// Put a new token in place, in two steps, so that no webhook is refused
    #[command(after_help = "\
Examples:
  relay token rotate               1. makes a token and has both accepted
                                   2. you change the URL in Vero, and wait a day
  relay token rotate --finish      3. only the token that you give is accepted")]
    Rotate(TokenRotate),
}

#[derive(Debug, Args)]
pub struct TokenRotate {
    /// Which one
    #[arg(value_enum, default_value_t = Way::Vero)]
    pub way: Way,
    /// Have every token refused but the one that you give; asks for it
    #[arg(long)]
    pub finish: bool,
    #[command(flatten)]
    pub consent: Consent,
}

/// A way in that opens by a token or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// The token in the URL of Vero's webhooks
    Vero,
    /// The token in the URL of Segment's Webhooks destinations
    Segment,
    /// The write key of server SDKs
    WriteKey,
    /// The write key of pages and apps
    BrowserKey,
}

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Ask for a key, check its form, and store it in SSM
    #[command(after_help = "\
Examples:
  relay key set segment
  relay key set vero < key.txt     from a file, for scripts")]
    Set(KeySet),
}

#[derive(Debug, Args)]
pub struct KeySet {
    /// Whose key
    #[arg(value_enum)]
    pub key: KeyName,
    /// Accept the present secret, too, while it is changed; for shared-secret alone
    #[arg(long)]
    pub keep_old: bool,
}

/// A secret that the functions read from SSM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyName {
    /// The write key of a Segment source
    Segment,
    /// A Track API key of Vero
    Vero,
    /// The shared secret of Segment's Webhooks destination
    SharedSecret,
    /// The secret that addresses are hashed with (docs/rules.md)
    AddressHash,
}

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Check a file: mistakes, and what is odd, such as a rule that never holds
    #[command(after_help = "Example:\n  relay rules check events/rules-hash-addresses.json")]
    Check(RulesFile),
    /// Show what a file changes of what is sent, event by event
    #[command(after_help = "\
Examples:
  relay rules try events/rules-keep-sms-out.json --events events
  relay rules try events/rules-keep-sms-out.json --from 2026-11-20 --to 2026-11-21")]
    Try(RulesTry),
    /// Check a file, and store it where the stack reads it
    #[command(after_help = "Example:\n  relay rules set events/blueprint.json")]
    Set(RulesFile),
}

#[derive(Debug, Args)]
pub struct RulesFile {
    /// A file as events/blueprint.schema.json describes it
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct RulesTry {
    /// A file as events/blueprint.schema.json describes it
    pub file: PathBuf,
    /// An event, or a folder of files named vero-….json and segment-….json
    #[arg(long, value_name = "PATH", default_value = "events")]
    pub events: PathBuf,
    /// The file that holds today; without it, the default preset, or with --from the blueprint of the stack
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// The settings of webhook endpoints; without them, each is taken for one that gets all as it was received
    #[arg(long, value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
    /// Archived events of the stack, received from this time or date on (UTC), in the place of files
    #[arg(long, value_name = "TIME", requires = "to", conflicts_with = "events")]
    pub from: Option<String>,
    /// Received before this time or date (UTC)
    #[arg(long, value_name = "TIME", requires = "from")]
    pub to: Option<String>,
    /// The most archived events
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: u32,
}

#[derive(Debug, Subcommand)]
pub enum Endpoints {
    /// Check a file
    #[command(after_help = "Example:\n  relay endpoints check events/endpoints.json")]
    Check(EndpointsFile),
    /// Check a file, and store it where the stack reads it
    #[command(after_help = "Example:\n  relay endpoints set endpoints.json")]
    Set(EndpointsFile),
}

#[derive(Debug, Args)]
pub struct EndpointsFile {
    /// A file as events/endpoints.schema.json describes it
    pub file: PathBuf,
    /// For a stack that allows private and link-local addresses, or will
    #[arg(long)]
    pub private_addresses: bool,
}

#[derive(Debug, Args)]
pub struct Destinations {
    /// segment, vero_track, archive or webhook:NAME
    #[arg(required = true, value_name = "DESTINATION")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay set QuietHours=48
  relay set WorkerMaximumConcurrency=20 BatchWindowSeconds=5
  relay set VeroTrackTypes=        back to the default")]
pub struct Set {
    /// Parameters of docs/configuration.md
    #[arg(required = true, value_name = "NAME=VALUE")]
    pub values: Vec<String>,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay query                      lists the saved queries
  relay query funnel
  relay query --csv \"select type, count(distinct id) from data where day >= '2026-11-01' group by type\"")]
pub struct Query {
    /// The name of a saved query, or SQL
    pub query: Option<String>,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay replay --from 2026-11-20 --to 2026-11-22 --destination segment
  relay replay --from 2026-11-20 --to 2026-11-21 --destination vero_track --id 01935f3a-…
  relay replay --from 2026-11-01 --to 2026-12-01 --destination segment --query reconciliation

It begins with a dry run, shows what would be sent, and asks.")]
pub struct Replay {
    /// Received from this time or date on (UTC)
    #[arg(long, value_name = "TIME", required_unless_present = "stop")]
    pub from: Option<String>,
    /// Received before this time or date (UTC)
    #[arg(long, value_name = "TIME", required_unless_present = "stop")]
    pub to: Option<String>,
    /// segment, vero_track, vero_tags or webhook:NAME; may be given again
    #[arg(long = "destination", value_name = "NAME", required_unless_present = "stop")]
    pub destinations: Vec<String>,
    /// Only this type; may be given again
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only this user, by id or address; may be given again
    #[arg(long = "user", value_name = "USER")]
    pub users: Vec<String>,
    /// Only this source, vero or segment
    #[arg(long = "source", value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Only this event; may be given again
    #[arg(long = "id", value_name = "ID", conflicts_with = "query")]
    pub ids: Vec<String>,
    /// Only the events and destinations that a saved query or SQL finds, by columns `id` and `destination`
    #[arg(long, value_name = "QUERY")]
    pub query: Option<String>,
    /// Give each event a new id, so that a destination takes it although it had it before
    #[arg(long)]
    pub new_ids: bool,
    /// So many a second
    #[arg(long, value_name = "COUNT")]
    pub max_per_second: Option<u64>,
    /// Go on where a replay has stopped: what its error says of its progress, and the same options beside it
    #[arg(long, value_name = "JSON", conflicts_with = "dry_run")]
    pub progress: Option<String>,
    /// Only the dry run
    #[arg(long)]
    pub dry_run: bool,
    /// Stop every replay and forget that goes on by itself; takes a quarter of an hour
    #[arg(long, conflicts_with_all = ["from", "to", "destinations"])]
    pub stop: bool,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  relay forget --user 123 --email steve@example.com

It begins with a dry run, shows what would be deleted, and asks.")]
pub struct Forget {
    /// The user's id
    #[arg(long, value_name = "ID", required_unless_present = "email")]
    pub user: Option<String>,
    /// The user's address
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Only the dry run
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  relay requeue
  relay requeue --since 3d --dry-run")]
pub struct Requeue {
    /// Look so far back
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub since: Span,
    /// Only say how many
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Subcommand)]
pub enum Misplaced {
    /// Say how many rows there are, and why
    List,
    /// Write the rows to the folders where they belong
    Restore(Consent),
}

#[derive(Debug, Args)]
pub struct Metrics {
    /// So far back
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub since: Span,
}
