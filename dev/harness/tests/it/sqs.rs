//! The stand-in for SQS and SSM, spoken to by hand.

use std::io::Error;
use std::time::{Duration, Instant};

use harness::{AwsModel, Fault, MessageState, Queue, QueueSettings, REGION, Sqs, When};
use serde_json::{Value, json};

use crate::raw;

/// A call that is signed for this service, whether or not it is the one that is called.
async fn signed(sqs: &Sqs, service: &str, target: &str, request: Value) -> Result<raw::Response, Error> {
    let scope = format!("20261121/{REGION}/{service}/aws4_request");
    let signature = format!("AWS4-HMAC-SHA256 Credential=AKIA/{scope}, SignedHeaders=host, Signature=0");
    let headers = [("x-amz-target", target), ("authorization", &signature)];
    raw::call(sqs.url(), "POST", "/", &headers, request.to_string()).await
}

async fn aws(sqs: &Sqs, target: &str, request: Value) -> (u16, Value) {
    let service = if target.starts_with("AmazonSSM") { "ssm" } else { "sqs" };
    let answer = signed(sqs, service, target, request).await.unwrap();
    (answer.status, answer.json)
}

async fn sqs_call(sqs: &Sqs, queue: &Queue, operation: &str, mut request: Value) -> (u16, Value) {
    request["QueueUrl"] = queue.url().into();
    aws(sqs, &format!("AmazonSQS.{operation}"), request).await
}

fn batch(bodies: &[&str]) -> Value {
    let entries: Vec<_> = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| json!({"Id": index.to_string(), "MessageBody": body}))
        .collect();
    json!({ "Entries": entries })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_delayed_received_hidden_and_deleted() {
    let sqs = Sqs::start().await.unwrap();
    let queue = sqs.queue("main", QueueSettings::default());
    let attributes = json!({"type": {"DataType": "String", "StringValue": "sent"}});
    let request = json!({"MessageBody": "hello", "DelaySeconds": 30, "MessageAttributes": attributes});
    let (status, sent) = sqs_call(&sqs, &queue, "SendMessage", request).await;
    assert_eq!((status, &sent["MD5OfMessageBody"]), (200, &json!("5d41402abc4b2a76b9719d911017c592")));
    assert_eq!(sent["MD5OfMessageAttributes"], "0161f2ac1c31f8b6b2053152039cda67");
    assert_eq!(queue.messages()[0].state, MessageState::Delayed);
    assert_eq!(queue.messages()[0].attributes["type"], "sent");

    let all = json!({"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]});
    assert_eq!(sqs_call(&sqs, &queue, "ReceiveMessage", all.clone()).await.1, json!({}));
    let due = sqs.next_due().unwrap();
    assert!(due > Duration::from_secs(28) && due <= Duration::from_secs(30));
    sqs.advance(due);
    let (_, received) = sqs_call(&sqs, &queue, "ReceiveMessage", all).await;
    let message = &received["Messages"][0];
    assert_eq!((&message["Body"], &message["MessageAttributes"]), (&json!("hello"), &attributes));
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(queue.messages()[0].state, MessageState::InFlight);

    let hide = json!({"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0});
    assert_eq!(sqs_call(&sqs, &queue, "ChangeMessageVisibility", hide.clone()).await.0, 200);
    assert_eq!(queue.messages()[0].state, MessageState::Visible);
    let (status, error) = sqs_call(&sqs, &queue, "ChangeMessageVisibility", hide).await;
    assert_eq!((status, &error["__type"]), (400, &json!("com.amazonaws.sqs#MessageNotInflight")));

    let delete = json!({"Entries": [{"Id": "a", "ReceiptHandle": message["ReceiptHandle"]}]});
    let (_, deleted) = sqs_call(&sqs, &queue, "DeleteMessageBatch", delete).await;
    assert_eq!(deleted, json!({"Successful": [{"Id": "a"}]}));
    assert_eq!((queue.messages().len(), sqs.next_due()), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_with_the_first_message() {
    let sqs = Sqs::start().await.unwrap();
    let queue = sqs.queue("main", QueueSettings::default());
    let started = Instant::now();
    let (received, ()) =
        tokio::join!(sqs_call(&sqs, &queue, "ReceiveMessage", json!({"WaitTimeSeconds": 20})), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            queue.send("hello").unwrap();
        });
    assert_eq!(received.1["Messages"][0]["Body"], "hello");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sqs_refuses_is_refused() {
    let sqs = Sqs::start().await.unwrap();
    let queue = sqs.queue("main", QueueSettings::default());
    let mib = "a".repeat(1024 * 1024);
    for (request, error) in [
        (json!({"MessageBody": ""}), "MissingRequiredParameterException"),
        (json!({"MessageBody": "\u{fffe}"}), "InvalidMessageContents"),
        (json!({"MessageBody": "\u{0}"}), "InvalidMessageContents"),
        (json!({"MessageBody": format!("{mib}a")}), "InvalidParameterValueException"),
        (json!({"MessageBody": "a", "DelaySeconds": 901}), "InvalidParameterValueException"),
        (
            json!({"MessageBody": "a", "MessageAttributes": {"type": {"DataType": "String", "StringValue": ""}}}),
            "InvalidParameterValueException",
        ),
    ] {
        let (status, answer) = sqs_call(&sqs, &queue, "SendMessage", request).await;
        let kind = answer["__type"].as_str().unwrap().to_owned();
        assert!(status == 400 && kind.ends_with(&format!("#{error}")), "{answer}");
    }
    for (request, error) in [
        (batch(&[]), "EmptyBatchRequest"),
        (batch(&["a"; 11]), "TooManyEntriesInBatchRequest"),
        (batch(&[&mib, "a"]), "BatchRequestTooLong"),
        (
            json!({"Entries": [{"Id": "a", "MessageBody": "b"}, {"Id": "a", "MessageBody": "b"}]}),
            "BatchEntryIdsNotDistinct",
        ),
    ] {
        let (status, answer) = sqs_call(&sqs, &queue, "SendMessageBatch", request).await;
        assert_eq!((status, &answer["__type"]), (400, &json!(format!("com.amazonaws.sqs#{error}"))));
    }
    assert!(queue.messages().is_empty());
    assert_eq!(sqs_call(&sqs, &queue, "SendMessage", json!({"MessageBody": mib})).await.0, 200);

    let (_, answer) = sqs_call(&sqs, &queue, "SendMessageBatch", batch(&["a", "\u{ffff}"])).await;
    assert_eq!(answer["Successful"][0]["Id"], "0");
    assert_eq!(answer["Failed"][0]["Code"], "InvalidMessageContents");

    let missing = json!({"QueueUrl": "http://x/0/none", "MessageBody": "a"});
    let answer = signed(&sqs, "sqs", "AmazonSQS.SendMessage", missing).await.unwrap();
    assert_eq!(answer.json["__type"], "com.amazonaws.sqs#QueueDoesNotExist");
    assert!(answer.head.contains("x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender"));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_meet_whom_they_should() {
    let sqs = Sqs::start().await.unwrap();
    let (main, dead) =
        (sqs.queue("main", QueueSettings::default()), sqs.queue("dead", QueueSettings::default()));
    let one = || json!({"MessageBody": "a"});

    sqs.fail(Fault::Status(503), When::first(1).operation("SendMessage").queue("main"));
    assert_eq!(sqs_call(&sqs, &dead, "SendMessage", one()).await.0, 200);
    let (status, answer) = sqs_call(&sqs, &main, "SendMessage", one()).await;
    assert_eq!((status, &answer["__type"]), (503, &json!("com.amazonaws.sqs#ServiceUnavailable")));
    assert_eq!(sqs_call(&sqs, &main, "SendMessage", one()).await.0, 200);

    sqs.fail(Fault::EntryFailure { entries: vec![1], sender_fault: false }, When::always());
    let (_, answer) = sqs_call(&sqs, &main, "SendMessageBatch", batch(&["b", "c"])).await;
    assert_eq!(
        (&answer["Failed"][0]["Id"], &answer["Failed"][0]["SenderFault"]),
        (&json!("1"), &json!(false))
    );
    assert_eq!(main.messages().len(), 2);

    sqs.recover();
    sqs.fail(Fault::Throttle, When::every(2));
    assert_eq!(sqs_call(&sqs, &main, "SendMessage", one()).await.0, 200);
    assert_eq!(sqs_call(&sqs, &main, "SendMessage", one()).await.1["message"], "Rate exceeded");

    let send = || {
        let request = json!({"QueueUrl": main.url(), "MessageBody": "d"});
        signed(&sqs, "sqs", "AmazonSQS.SendMessage", request)
    };
    for (fault, kept) in [(Fault::Reset, 3), (Fault::LostAnswer, 4)] {
        sqs.recover();
        sqs.fail(fault, When::always());
        let broken = send().await;
        assert_eq!(broken.err().unwrap().kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(main.messages().len(), kept);
    }
    sqs.fail(Fault::Hang, When::always());
    assert!(tokio::time::timeout(Duration::from_millis(100), send()).await.is_err());
    let last = sqs.calls().pop().unwrap();
    assert_eq!(
        (last.operation.as_str(), last.queue.as_deref(), last.status),
        ("SendMessage", Some("main"), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_read_from_ssm() {
    let sqs = Sqs::start().await.unwrap();
    sqs.parameter("/relay/token", "secret");
    let request = json!({"Names": ["/relay/token", "/other"], "WithDecryption": true});
    let (_, answer) = aws(&sqs, "AmazonSSM.GetParameters", request).await;
    assert_eq!(answer["Parameters"][0]["Value"], "secret");
    assert_eq!(answer["InvalidParameters"], json!(["/other"]));
    let (status, answer) = aws(&sqs, "AmazonSSM.GetParameter", json!({"Name": "/other"})).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("com.amazonaws.ssm#ParameterNotFound")));
    let request = json!({"Names": ["/relay/token"]});
    let unsigned = signed(&sqs, "sqs", "AmazonSSM.GetParameters", request).await.unwrap();
    assert_eq!(unsigned.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn says_yes_without_an_acknowledgement() {
    let sqs = Sqs::start().await.unwrap();
    let queue = sqs.queue("main", QueueSettings::default());
    sqs.fail(Fault::Answer(204, ""), When::first(1));
    assert_eq!(sqs_call(&sqs, &queue, "SendMessage", json!({"MessageBody": "hello"})).await.0, 204);
    assert!(queue.messages().is_empty());
    sqs.fail(Fault::WrongDigest, When::always());
    let (_, one) = sqs_call(&sqs, &queue, "SendMessage", json!({"MessageBody": "hello"})).await;
    let (_, two) = sqs_call(&sqs, &queue, "SendMessageBatch", batch(&["hello"])).await;
    for sent in [&one, &two["Successful"][0]] {
        assert!(sent["MessageId"].is_string() && sent["MD5OfMessageBody"].is_string());
        assert_ne!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
    }
    assert_eq!(queue.messages().len(), 2);
}

#[test]
fn a_message_is_kept_for_its_time_even_in_the_dead_letter_queue() {
    let (mut aws, visibility) = (AwsModel::default(), Duration::from_millis(1));
    let settings = QueueSettings { visibility, max_receive_count: 1, dead_letter: Some("dead".to_owned()) };
    aws.add_queue("main", settings);
    let (dead, kept) = (aws.put("main", "one", 0).unwrap(), aws.put("main", "two", 10).unwrap());
    aws.receive("main", 1, 11);
    assert_eq!(aws.receive("main", 1, 20).1, [&*dead]);
    assert!(aws.expire("main", 10).is_empty());
    // There the time goes on from the first send.
    assert_eq!(aws.expire("dead", 10), [dead]);
    assert_eq!(aws.expire("main", 11), [kept]);
}
