//! `relay event` and `relay events`.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::relay::start;
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME, WEBHOOK};

#[tokio::test]
async fn an_event_s_story_is_told_whole() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (relay, stack) = start().await?;
    let id = stack.post(WEBHOOK).await?;
    stack.deliveries(&id, 2, DEADLINE_AFTER).await;
    stack.archived(1, DEADLINE_AFTER).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let begin = Instant::now();
    let (code, story) = relay.json(&format!("event vr-{id}")).await?;
    println!("the story took {:?}", begin.elapsed());
    assert_eq!((code, &story["source"], &story["type"]), (0, &json!("vero"), &json!("opened")), "{story}");
    let of = |name: &str| {
        let all = story["destinations"].as_array().into_iter().flatten();
        { all }.find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    for (name, mapped_to) in
        [("segment", "track Email Opened"), ("vero_track", "/api/v2/events/track Email Opened")]
    {
        let one = of(name);
        assert_eq!(
            (&one["state"]["is"], &one["mapped_to"][0]),
            (&json!("accepted"), &json!(mapped_to)),
            "{one}"
        );
    }
    assert_eq!(of("archive")["state"]["is"], "accepted");
    assert!(!story.to_string().contains("steve@example.com"), "{story}");
    let (_, whole) = relay.json(&format!("event {id} --show-addresses")).await?;
    assert_eq!(whole["envelope"]["payload"]["user"]["email"], "steve@example.com");

    // Segment takes no event of over 32 kB.
    let large = WEBHOOK.replacen('{', &format!(r#"{{"campaign":{{"name":"{}"}},"#, "x".repeat(40_000)), 1);
    let large = stack.post(&large).await?;
    stack.deliveries(&large, 1, DEADLINE_AFTER).await;
    let deadline = Instant::now() + DEADLINE_AFTER;
    let dead = loop {
        let (_, story) = relay.json(&format!("event {large}")).await?;
        let dead = story["destinations"][0]["state"].clone();
        if dead["is"] == "dead_letter" || Instant::now() > deadline {
            break dead;
        }
    };
    assert_eq!(dead, json!({"is": "dead_letter", "reason": "too_large"}));

    assert_eq!(
        relay.json("event 01935f3a-0000-7000-8000-000000000001").await?.0,
        4,
        "nothing is known of it"
    );
    assert_eq!(relay.json("event no|id").await?.0, 1);
    let (code, events) = relay.json("events --email STEVE@example.com --since 1h").await?;
    assert_eq!((code, events.as_array().map(Vec::len)), (0, Some(2)), "{events}");
    Ok(())
}
