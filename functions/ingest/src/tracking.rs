//! `/v1`: events that Segment's SDKs send.

use crate::Ingest;
use crate::first_party::Events;
use crate::http::encoding;
use crate::http::request::InboundRequest;
use crate::http::response::Response;
use crate::http::routes::TrackingEndpoint;
use crate::rejection::Rejection;

impl Ingest {
    pub(crate) async fn receive_from_sdk(
        &self,
        request: &InboundRequest,
        endpoint: TrackingEndpoint,
    ) -> Result<Response, Rejection> {
        let authorized = self.auth.tracking(request)?;
        let body = match encoding::decoded(&authorized) {
            Err(Rejection::BadGzip) => {
                return self.keep(&authorized, request.body(), Rejection::BadGzip).await;
            }
            decoded => decoded?,
        };
        match Events::of_sdk(&body, endpoint) {
            Ok(events) => self.enqueue_events(&authorized, &events).await,
            Err(rejection) => self.keep(&authorized, &body, rejection).await,
        }
    }
}
