//! `relay token rotate`.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::relay::start;
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME, WEBHOOK};

/// The runbook's way, while webhooks come in all the time.
#[tokio::test]
async fn a_token_is_rotated_without_a_lost_webhook() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (relay, stack) = start().await?;
    let before = relay.json("status").await?.1["stack"]["parameters"].clone();
    let old = stack.webhook_token().to_owned();
    let mut ids = Vec::new();
    let mut new = old.clone();
    for line in ["token rotate --yes", "token rotate --finish --yes"] {
        let token = new.clone();
        if line.contains("--finish") {
            // As a script may still have it from before.
            let (code, refused) = relay.json_by(line, &old).await?;
            assert_eq!(code, 1, "{refused}");
        }
        let mut rotate = std::pin::pin!(relay.json_by(line, &token));
        let (code, document) = loop {
            // The old token until the new one is given out, and from then on the new one.
            match stack.post_by(&new, WEBHOOK).await {
                Ok(id) => ids.push(id),
                // The stand-in ends a process that it updates, whatever it is at. Lambda does not.
                Err(error) if error.to_string().contains("Runtime.ExitError") => (),
                refused => drop(refused?),
            }
            if let Ok(done) = tokio::time::timeout(Duration::from_millis(30), &mut rotate).await {
                break done?;
            }
        };
        assert_eq!(code, 0, "{document}");
        if let Some(token) = document["token"].as_str() {
            ids.push(stack.post_by(&old, WEBHOOK).await?);
            new = token.to_owned();
        }
    }
    ids.push(stack.post_by(&new, WEBHOOK).await?);
    let (code, unknown) = relay.json_by("token rotate --finish --yes", "no-token").await?;
    assert_eq!((code, &unknown["digest"]), (0, &json!(harness::digest(&new))), "nothing is left to be done");
    let refused = stack.post_by(&old, WEBHOOK).await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
    println!("{} webhooks came in meanwhile", ids.len());
    for id in ids {
        assert_eq!(stack.deliveries(&id, 2, DEADLINE_AFTER).await.len(), 2, "{id}");
    }
    let mut after = relay.json("status").await?.1["stack"]["parameters"].clone();
    assert_eq!(after["WebhookTokenSha256"], harness::digest(&new));
    after["WebhookTokenSha256"] = before["WebhookTokenSha256"].clone();
    assert_eq!(after, before, "all others stay");
    assert_eq!(stack.dead_letters().await?, 0);
    Ok(())
}
