//! `relay forget`: deletes what the archive has of a user.

use serde_json::json;

use super::Done;
use super::replay::Plan;
use crate::cloud::Cloud;
use crate::console::Console;
use crate::options::Forget;

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Forget) -> Done {
    let stack = cloud.describe().await?;
    let mut who = json!({});
    if let Some(user) = &options.user {
        who["user_id"] = json!(user);
    }
    if let Some(email) = &options.email {
        who["email"] = json!(email);
    }
    let plan = Plan {
        request: json!({"forget": who}),
        question: "Delete these rows for good?",
        job: "forget",
        dry_run: options.dry_run,
    };
    plan.carry_out(cloud, console, &stack, &options.consent).await
}
