//! HTTP as a Function URL hands it over: the request, its route and encoding, and the response.

pub mod cors;
pub mod encoding;
pub mod request;
pub mod response;
pub mod routes;
