//! Each call that the SDK has, once. Usage: `sdk-rust HOST WRITE_KEY NAME [batch]`

use anyhow::{Result, bail};
use segment::message::{Alias, BatchMessage, Group, Identify, Message, Page, Screen, Track, User};
use segment::{Batcher, Client, HttpClient};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, write_key, name, options @ ..] = arguments.as_slice() else {
        bail!("usage: sdk-rust HOST WRITE_KEY NAME [batch]");
    };
    let client = HttpClient::new(reqwest::Client::new(), host.clone());
    if options.iter().any(|option| option == "batch") {
        let mut batcher = Batcher::new(None);
        for message in messages(name) {
            batcher.push(message)?;
        }
        client.send(write_key.clone(), batcher.into_message()).await?;
    } else {
        for message in messages(name) {
            client.send(write_key.clone(), single(message)).await?;
        }
    }
    Ok(())
}

/// The SDK makes no messageId, and `extra` is the place for one of the caller's own; most will not know.
fn messages(name: &str) -> [BatchMessage; 6] {
    let user = User::UserId { user_id: format!("user-{name}") };
    [
        BatchMessage::Identify(Identify {
            user: user.clone(),
            traits: json!({"email": format!("{name}@example.com"), "plan": "pro"}),
            ..Identify::default()
        }),
        BatchMessage::Track(Track {
            user: user.clone(),
            event: "Song Played".to_owned(),
            properties: json!({"title": "Für Elise", "seconds": 175}),
            ..Track::default()
        }),
        BatchMessage::Page(Page {
            user: user.clone(),
            name: "Pricing".to_owned(),
            properties: json!({"url": "https://example.com/pricing"}),
            ..Page::default()
        }),
        BatchMessage::Screen(Screen {
            user: user.clone(),
            name: "Player".to_owned(),
            properties: json!({"volume": 11}),
            ..Screen::default()
        }),
        BatchMessage::Group(Group {
            user: user.clone(),
            group_id: format!("group-{name}"),
            traits: json!({"name": "Acme"}),
            ..Group::default()
        }),
        BatchMessage::Alias(Alias { user, previous_id: format!("before-{name}"), ..Alias::default() }),
    ]
}

fn single(message: BatchMessage) -> Message {
    match message {
        BatchMessage::Identify(identify) => identify.into(),
        BatchMessage::Track(track) => track.into(),
        BatchMessage::Page(page) => page.into(),
        BatchMessage::Screen(screen) => screen.into(),
        BatchMessage::Group(group) => group.into(),
        BatchMessage::Alias(alias) => alias.into(),
    }
}
