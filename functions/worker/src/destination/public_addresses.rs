//! Names that lead to private addresses: whoever may choose a URL must not reach what only this network can reach.
//!
//! A name is looked at when it is resolved, for each connection anew, so that it does not matter what it led to before.
//! Addresses in the place of a name are looked at where the settings are read.

use std::error::Error;
use std::net::SocketAddr;

use relay_core::endpoints::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The system's resolver, without private addresses.
#[derive(Debug, Clone, Copy)]
pub struct PublicAddresses;

/// Every address of a name is a private one.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to a private address")]
struct PrivateAddress;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let has_some = !found.is_empty();
            let public: Vec<SocketAddr> =
                found.into_iter().filter(|address| is_public(address.ip())).collect();
            if has_some && public.is_empty() {
                return Err(PrivateAddress.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether there was no connection because of that.
pub fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        if error.is::<PrivateAddress>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_and_one_that_is_unknown_is_not() {
        let client = reqwest::Client::builder().no_proxy().dns_resolver(PublicAddresses);
        let client = client.tls_backend_preconfigured((*relay_platform::tls::config().unwrap()).clone());
        let client = client.build().unwrap();
        let refused = async |url| is_refused(&client.get(url).send().await.unwrap_err());
        assert!(refused("http://localhost:9/").await);
        assert!(!refused("http://nobody.invalid:9/").await);
    }
}
