//! `relay requeue` on a stack without an archive: what only the log has is queued, once.

use std::time::Duration;

use anyhow::Result;
use local::samples;
use serde_json::json;

use crate::relay::start;
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

#[tokio::test]
async fn what_only_the_log_has_is_queued_once() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (relay, stack) = start().await?;
    stack.update(&[("Archive", "false")]).await?;
    let old = samples::log_unqueued(&stack, samples::TWO_HOURS).await?;
    // Others of its time may not be in the log yet.
    let young = samples::log_unqueued(&stack, Duration::from_secs(60)).await?;

    let (_, found) = relay.json("doctor").await?;
    assert!(found.to_string().contains("archive_is_off"), "{found}");
    let nothing = json!({"found": 0, "torn": 0, "queued": 0});
    let one = json!({"found": 1, "torn": 0, "queued": 0});
    assert_eq!(relay.json("requeue --since 1h").await?, (0, nothing.clone()), "two hours are longer ago");
    assert_eq!(relay.json("requeue --dry-run").await?, (0, one));
    assert_eq!(relay.json("requeue").await?.0, 3, "nobody said yes");
    assert!(stack.journal.of(&old).is_empty());

    assert_eq!(relay.json("requeue --yes").await?, (0, json!({"found": 1, "torn": 0, "queued": 1})));
    assert_eq!(stack.deliveries(&old, 2, DEADLINE_AFTER).await.len(), 2);
    assert_eq!(relay.json("requeue --yes").await?, (0, nothing), "it is queued already");
    // What no look has reached is still found by a longer one.
    let older = samples::log_unqueued(&stack, 15 * samples::TWO_HOURS).await?;
    assert_eq!(relay.json("requeue --since 2d --yes").await?.1["queued"], 1);
    assert_eq!(stack.deliveries(&older, 2, DEADLINE_AFTER).await.len(), 2);
    assert!(stack.journal.of(&young).is_empty());
    assert_eq!(stack.journal.of(&old).len(), 2);
    Ok(())
}
