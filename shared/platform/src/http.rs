//! HTTP/1.1 for the AWS SDK. Its own client brings HTTP/2, proxies and a second look at every certificate, which cost
//! a cold start more than all the rest of it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tower_service::Service;

use crate::tls;

type BoxError = Box<dyn Error + Send + Sync>;

/// A client that waits so long for a connection, TLS included, and keeps it so long unused.
pub(crate) fn client(connect: Duration, idle: Duration) -> SharedHttpClient {
    let mut tcp = Tcp::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(idle)
        .pool_timer(TokioTimer::new())
        .build(Connector { tcp, patience: connect });
    let shared = SharedHttpConnector::new(Http(client));
    http_client_fn(move |_, _| shared.clone())
}

#[derive(Debug)]
struct Http(Client<Connector, SdkBody>);

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = match request.try_into_http1x() {
            Ok(request) => self.0.request(request),
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        HttpConnectorFuture::new(async move {
            let answer = answer.await.map_err(|error| explain(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// For the SDK, which tries again after either.
fn explain(error: BoxError) -> ConnectorError {
    let first: &(dyn Error + 'static) = &*error;
    let mut chain = std::iter::successors(Some(first), |&error| error.source());
    if chain.any(|error| error.is::<Elapsed>()) {
        ConnectorError::timeout(error)
    } else {
        ConnectorError::io(error)
    }
}

/// Opens connections, with TLS if the address says so.
#[derive(Debug, Clone)]
struct Connector {
    tcp: Tcp,
    patience: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { mut tcp, patience } = self.clone();
        let connecting = async move {
            if uri.scheme() == Some(&Scheme::HTTPS) {
                HttpsConnector::from((tcp, tls::config()?)).call(uri).await
            } else {
                Ok(MaybeHttpsStream::Http(tcp.call(uri).await?))
            }
        };
        Box::pin(async move { timeout(patience, connecting).await? })
    }
}
