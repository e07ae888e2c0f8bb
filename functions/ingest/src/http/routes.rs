//! Which request is meant for what.

use relay_core::first_party::CallType;

use crate::http::request::InboundRequest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'r> {
    /// A webhook; the token is empty if the URL has none.
    Vero {
        token: &'r str,
    },
    /// Events from Segment's Webhooks destinations; the token is empty if the URL has none.
    Segment {
        token: &'r str,
    },
    /// Events from one of Segment's SDKs.
    Tracking(TrackingEndpoint),
    /// A browser asks whether it may send events.
    Preflight,
    /// What Segment's browser SDK measures of itself. It is answered and not kept.
    Metrics,
    Health,
    /// A known path, asked for with a method that it does not have.
    WrongMethod {
        /// As in the header `Allow`.
        allowed: &'static str,
    },
    Unknown,
}

/// The routes that are on only if somebody may use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnabledRoutes {
    /// `/segment`
    pub segment: bool,
    /// `/v1`
    pub tracking: bool,
}

/// What a path of Segment's tracking API holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackingEndpoint {
    Event(CallType),
    /// Events that each have their type.
    Batch,
}

impl TrackingEndpoint {
    /// By the last part of the path. One letter: browser and mobile SDKs; `import`: older SDKs of Ruby and Java.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "batch" | "b" | "import" => TrackingEndpoint::Batch,
            "track" | "t" => TrackingEndpoint::Event(CallType::Track),
            "identify" | "i" => TrackingEndpoint::Event(CallType::Identify),
            "page" | "p" => TrackingEndpoint::Event(CallType::Page),
            "screen" | "s" => TrackingEndpoint::Event(CallType::Screen),
            "group" | "g" => TrackingEndpoint::Event(CallType::Group),
            "alias" | "a" => TrackingEndpoint::Event(CallType::Alias),
            _ => return None,
        })
    }
}

impl<'r> Route<'r> {
    pub fn of(request: &'r InboundRequest, enabled: EnabledRoutes) -> Self {
        Self::find(request.method(), request.path(), request.parameter("token"), enabled)
    }

    /// Whether a browser's page may be shown the response.
    pub fn is_for_browsers(self) -> bool {
        matches!(self, Route::Tracking(_) | Route::Preflight | Route::Metrics)
    }

    /// Reads method and path, whose repeated slashes count as one, and a trailing one as none. On `/vero` the token may
    /// stand in the query.
    fn find(method: &str, path: &'r str, token_in_query: Option<&'r str>, enabled: EnabledRoutes) -> Self {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let (route, allowed) = match (segments.next(), segments.next(), segments.next()) {
            (Some("vero"), token, None) => {
                let token = token.or(token_in_query).unwrap_or_default();
                (Route::Vero { token }, "POST")
            }
            (Some("segment"), token, None) if enabled.segment => {
                (Route::Segment { token: token.unwrap_or_default() }, "POST, PUT, PATCH")
            }
            (Some("v1"), Some(name), None) if enabled.tracking => {
                let route = match TrackingEndpoint::named(name) {
                    Some(events) => Route::Tracking(events),
                    None if name == "m" => Route::Metrics,
                    None => return Route::Unknown,
                };
                (if method == "OPTIONS" { Route::Preflight } else { route }, "POST, OPTIONS")
            }
            (Some("health"), None, None) => (Route::Health, "GET"),
            _ => return Route::Unknown,
        };
        let is_allowed = allowed.split(", ").any(|allowed| allowed == method);
        if is_allowed { route } else { Route::WrongMethod { allowed } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route() {
        let vero = |token| Route::Vero { token };
        let segment = |token| Route::Segment { token };
        let one = |kind| Route::Tracking(TrackingEndpoint::Event(kind));
        for (method, path, query, expected) in [
            ("POST", "/vero/abc", None, vero("abc")),
            ("POST", "/vero/abc/", None, vero("abc")),
            ("POST", "/vero/abc", Some("xyz"), vero("abc")),
            ("POST", "/vero", Some("xyz"), vero("xyz")),
            ("POST", "/vero/", Some("xyz"), vero("xyz")),
            ("POST", "/vero", None, vero("")),
            ("POST", "/vero//", Some("xyz"), vero("xyz")),
            ("POST", "//vero///abc//", None, vero("abc")),
            ("POST", "/vero//abc/def", None, Route::Unknown),
            ("POST", "/vero/abc/def", None, Route::Unknown),
            ("GET", "/vero/abc", None, Route::WrongMethod { allowed: "POST" }),
            ("POST", "/segment/abc", None, segment("abc")),
            ("PUT", "/segment/abc/", None, segment("abc")),
            ("PATCH", "/segment/abc", None, segment("abc")),
            ("DELETE", "/segment/abc", None, Route::WrongMethod { allowed: "POST, PUT, PATCH" }),
            ("POST", "/segment", Some("xyz"), segment("")),
            ("POST", "/v1/track", None, one(CallType::Track)),
            ("POST", "/v1/t", None, one(CallType::Track)),
            ("POST", "/v1/i/", None, one(CallType::Identify)),
            ("POST", "/v1/page", None, one(CallType::Page)),
            ("POST", "/v1/s", None, one(CallType::Screen)),
            ("POST", "/v1/g", None, one(CallType::Group)),
            ("POST", "/v1/alias", None, one(CallType::Alias)),
            ("POST", "/v1/batch", None, Route::Tracking(TrackingEndpoint::Batch)),
            ("POST", "/v1/import/", None, Route::Tracking(TrackingEndpoint::Batch)),
            ("POST", "/v1/b", None, Route::Tracking(TrackingEndpoint::Batch)),
            ("POST", "//v1//batch", None, Route::Tracking(TrackingEndpoint::Batch)),
            ("POST", "/v1/m", None, Route::Metrics),
            ("OPTIONS", "/v1/t", None, Route::Preflight),
            ("OPTIONS", "/v1/m", None, Route::Preflight),
            ("GET", "/v1/t", None, Route::WrongMethod { allowed: "POST, OPTIONS" }),
            ("POST", "/v1/delete", None, Route::Unknown),
            ("OPTIONS", "/v1/x", None, Route::Unknown),
            ("POST", "/v1", None, Route::Unknown),
            ("GET", "/health", None, Route::Health),
            ("GET", "/health/", None, Route::Health),
            ("GET", "//health", None, Route::Health),
            ("POST", "/health", None, Route::WrongMethod { allowed: "GET" }),
            ("GET", "/", None, Route::Unknown),
            ("GET", "//", None, Route::Unknown),
            ("GET", "", None, Route::Unknown),
            ("POST", "/Vero/abc", None, Route::Unknown),
            ("POST", "/vero2", None, Route::Unknown),
        ] {
            let enabled = EnabledRoutes { segment: true, tracking: true };
            assert_eq!(Route::find(method, path, query, enabled), expected, "{method} {path} {query:?}");
        }
    }

    #[test]
    fn a_route_that_is_off_is_unknown() {
        let enabled = EnabledRoutes { segment: false, tracking: false };
        for (method, path) in
            [("POST", "/segment/x"), ("GET", "/segment/x"), ("POST", "/v1/t"), ("OPTIONS", "/v1/t")]
        {
            assert_eq!(Route::find(method, path, None, enabled), Route::Unknown, "{method} {path}");
        }
    }
}
