//! The built `ingest` and an SQS behind TLS, as on Lambda.

use std::time::{Duration, Instant};

use harness::{Sqs, Testbed};

use crate::setup::{Setup, setup_in};

async fn setup(trusts: impl Fn(&Sqs) -> Option<String>) -> Setup {
    let testbed = Testbed::with_sqs(Sqs::start_tls().await.unwrap()).await.unwrap();
    let authorities = trusts(&testbed.sqs);
    let variables: Vec<_> = authorities.iter().map(|file| ("SSL_CERT_FILE", file.as_str())).collect();
    setup_in(testbed, &variables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_there_before_the_first_webhook() {
    let setup = setup(|sqs| Some(sqs.ca_file()?.to_str()?.to_owned())).await;
    setup.ingest.init_duration().await.unwrap();
    assert_eq!(setup.sqs.connections(), 1);
    assert_eq!(setup.vero(b"{}").await.status, 202);
    assert_eq!((setup.queue.messages().len(), setup.sqs.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nobody_vouches_for_gets_no_webhook() {
    let setup = setup(|_| None).await;
    setup.ingest.init_duration().await.unwrap();
    let begin = Instant::now();
    assert_eq!(setup.vero(b"{}").await.status, 503);
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert!(setup.queue.messages().is_empty() && setup.sqs.calls().is_empty());
    assert!(setup.ingest.log_entries().iter().any(|line| line["message"] == "unqueued_webhook"));
}
