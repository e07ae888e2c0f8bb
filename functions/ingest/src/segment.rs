//! `/segment`: events that Segment's Webhooks destinations pass on.

use crate::Ingest;
use crate::first_party::Events;
use crate::http::request::InboundRequest;
use crate::http::response::Response;
use crate::rejection::Rejection;

impl Ingest {
    pub(crate) async fn receive_from_segment(
        &self,
        request: &InboundRequest,
        token: &str,
    ) -> Result<Response, Rejection> {
        let unverified = self.auth.segment(request, token)?;
        let body = unverified.body()?;
        // Of a batch, Segment signs the first event alone: it takes the body apart to find that one.
        let events = Events::of_segment(body);
        let signed = events.as_ref().ok().and_then(Events::signed_part).unwrap_or(body);
        let authorized = self.auth.verify_signature(unverified, signed).await?;
        match events {
            Ok(events) => self.enqueue_events(&authorized, &events).await,
            Err(rejection) => self.keep(&authorized, body, rejection).await,
        }
    }
}
