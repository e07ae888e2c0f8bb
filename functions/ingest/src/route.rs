//! Which request is meant for what.

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'r> {
    /// A webhook of Vero's, with the token from the URL; empty when there is none.
    Vero {
        /// The token.
        token: &'r str,
    },
    /// Is anybody there?
    Health,
    /// A known path, asked for with a method that it does not have.
    WrongMethod {
        /// The methods that it has, as in the header `Allow`.
        allowed: &'static str,
    },
    /// Nothing that is here.
    Unknown,
}

impl<'r> Route<'r> {
    /// Reads method and path; one trailing slash is allowed. On `/vero` the token may stand in the query.
    pub fn of(method: &str, path: &'r str, token_in_query: Option<&'r str>) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut segments = path.split('/').skip(1);
        let (route, allowed) = match (segments.next(), segments.next(), segments.next()) {
            (Some("vero"), token, None) => {
                let token = token.or(token_in_query).unwrap_or_default();
                (Route::Vero { token }, "POST")
            }
            (Some("health"), None, None) => (Route::Health, "GET"),
            _ => return Route::Unknown,
        };
        if method == allowed { route } else { Route::WrongMethod { allowed } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route() {
        let vero = |token| Route::Vero { token };
        for (method, path, query, expected) in [
            ("POST", "/vero/abc", None, vero("abc")),
            ("POST", "/vero/abc/", None, vero("abc")),
            ("POST", "/vero/abc", Some("xyz"), vero("abc")),
            ("POST", "/vero", Some("xyz"), vero("xyz")),
            ("POST", "/vero/", Some("xyz"), vero("xyz")),
            ("POST", "/vero", None, vero("")),
            ("POST", "/vero//", Some("xyz"), vero("")),
            ("POST", "/vero/abc/def", None, Route::Unknown),
            ("GET", "/vero/abc", None, Route::WrongMethod { allowed: "POST" }),
            ("GET", "/health", None, Route::Health),
            ("GET", "/health/", None, Route::Health),
            ("POST", "/health", None, Route::WrongMethod { allowed: "GET" }),
            ("GET", "/", None, Route::Unknown),
            ("GET", "", None, Route::Unknown),
            ("POST", "/Vero/abc", None, Route::Unknown),
            ("POST", "/vero2", None, Route::Unknown),
            ("POST", "/v1/track", None, Route::Unknown),
        ] {
            assert_eq!(Route::of(method, path, query), expected, "{method} {path} {query:?}");
        }
    }
}
