//! The built `ingest` and an SQS behind TLS, as on Lambda.

use std::time::{Duration, Instant};

use harness::{Function, Queue, QueueSettings, Sqs, UrlAnswer, url_event};

const TOKEN_SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

struct Setup {
    sqs: Sqs,
    queue: Queue,
    ingest: Function,
}

async fn setup(trusts: impl Fn(&Sqs) -> Option<String>) -> Setup {
    let sqs = Sqs::start_tls().await.unwrap();
    let queue = sqs.queue("main", QueueSettings::default());
    let (queue_url, authorities) = (queue.url(), trusts(&sqs));
    let mut environment = vec![
        ("AWS_ENDPOINT_URL", sqs.url()),
        ("QUEUE_URL", &queue_url),
        ("DEAD_LETTER_QUEUE_URL", &queue_url),
        ("WEBHOOK_TOKEN_SHA256", TOKEN_SHA256),
    ];
    environment.extend(authorities.as_deref().map(|file| ("SSL_CERT_FILE", file)));
    let ingest = Function::start(env!("CARGO_BIN_EXE_ingest"), &environment).await.unwrap();
    Setup { sqs, queue, ingest }
}

impl Setup {
    async fn post(&self) -> u16 {
        let event = url_event("POST", "/vero/test", "", &[], b"{}", false);
        UrlAnswer::of(&self.ingest.invoke(&event).await.unwrap()).status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_there_before_the_first_webhook() {
    let setup = setup(|sqs| Some(sqs.ca_file()?.to_str()?.to_owned())).await;
    setup.ingest.init_duration().await.unwrap();
    assert_eq!(setup.sqs.connections(), 1);
    assert_eq!(setup.post().await, 202);
    assert_eq!((setup.queue.messages().len(), setup.sqs.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nobody_vouches_for_gets_no_webhook() {
    let setup = setup(|_| None).await;
    setup.ingest.init_duration().await.unwrap();
    let begin = Instant::now();
    assert_eq!(setup.post().await, 503);
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert!(setup.queue.messages().is_empty() && setup.sqs.calls().is_empty());
    assert!(setup.ingest.log_entries().iter().any(|line| line["message"] == "unqueued_webhook"));
}
