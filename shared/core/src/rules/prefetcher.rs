//! Opens that a machine may have made.

use crate::webhook::Webhook;

/// User agents of programs that fetch a message's images whether or not somebody reads it. Vero sends no address of the
/// network, so this is a hint: others may say the same of themselves.
const PREFETCHERS: [&str; 2] = [
    // Apple's Mail Privacy Protection says this and no more (ClickDimensions, "Introduction to Adjusted Opens";
    // SocketLabs, "Identifying Apple MPP Opens in Notification API Events").
    "Mozilla/5.0",
    // Gmail, before it shows a message (SparkPost, "Gmail is Prefetching Images"). What it fetches when somebody opens the
    // message comes by GoogleImageProxy, and is none of these.
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
];

/// Whether a webhook is about an open by one of them.
pub fn opened(webhook: &Webhook<'_>) -> bool {
    webhook.kind.as_deref() == Some("opened")
        && webhook.user_agent().is_some_and(|agent| PREFETCHERS.contains(&&*agent))
}
