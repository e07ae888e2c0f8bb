//! How the built `worker` settles messages: what it returns, what it sends again, and what one message may cause.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod setup;

use std::time::Duration;

use harness::{Behaviour, Deadline, EventSource, QueueSettings, State, When, sqs_event};
use serde_json::{Value, json};
use setup::setup;

const RECEIVED_AT: &str = "2026-11-21T05:04:03.123Z";

fn envelope(id: &str, source: &str, payload: Value) -> Value {
    json!({"version": 1, "id": id, "source": source, "received_at": RECEIVED_AT, "payload": payload})
}

fn sent(id: &str) -> Value {
    envelope(id, "vero", json!({"type": "sent", "user": {"id": 123}}))
}

fn owed(mut envelope: Value, destinations: &[&str]) -> Value {
    envelope["destinations"] = json!(destinations);
    envelope
}

/// An SQS event whose messages have been received so often.
fn received(bodies: &[Value], receives: u32) -> Value {
    let ids: Vec<String> = (0..bodies.len()).map(|index| format!("m{index}")).collect();
    let bodies: Vec<String> = bodies.iter().map(Value::to_string).collect();
    let records: Vec<(&str, &str)> =
        ids.iter().zip(&bodies).map(|(id, body)| (id.as_str(), body.as_str())).collect();
    let mut event = sqs_event(&records);
    for record in event["Records"].as_array_mut().unwrap() {
        record["attributes"]["ApproximateReceiveCount"] = receives.to_string().into();
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_many_events_uses_up_no_receives() {
    let setup = setup().await;
    let dead_letter = Some(setup.dead.name().to_owned());
    let queue = setup.sqs.queue("main", QueueSettings { dead_letter, ..QueueSettings::default() });
    for place in 0..100 {
        let id = format!("e{place:02}");
        let payload = json!({"type": "track", "event": id, "userId": "u", "messageId": id});
        let mut event = envelope(&id, "segment", payload);
        event["place"] = place.into();
        queue.send(event.to_string()).unwrap();
    }
    // Calls are begun in an invocation's first second, a user's one after the other.
    setup.vero.behave(Behaviour::Slow(Duration::from_millis(190)), When::always());
    let source = EventSource {
        batch_size: 100,
        deadline: Deadline::In(Duration::from_secs(4)),
        max_invocations: 200,
        limit: Duration::from_secs(180),
        ..EventSource::through_time()
    };
    let drained = source.drain(&setup.worker, &queue).await;
    assert!(drained.empty);
    assert_eq!(setup.dead.messages().len(), 0, "healthy events are no dead letters");
    let calls = setup.vero.vero_calls();
    let ids: Vec<&str> = calls.iter().map(|(_, call)| call["event_name"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..100).map(|place| format!("e{place:02}")).collect();
    assert_eq!(ids, expected, "each once");
    assert!(
        drained.invocations.len() > 11,
        "{} invocations: no message was received often",
        drained.invocations.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_started_goes_back_as_a_copy_before_receives_run_out() {
    for receives in [1, 2, 3, 9, 10] {
        let setup = setup().await;
        setup.vero.behave(Behaviour::Slow(Duration::from_millis(400)), When::always());
        let event = |number: usize| {
            let mut event = owed(sent(&format!("e{number:02}")), &["vero_track"]);
            event["attempt"] = 5.into();
            event
        };
        let events: Vec<Value> = (0..80).map(event).collect();
        let answer =
            setup.worker.invoke_with(&received(&events, receives), Duration::from_secs(3)).await.unwrap();
        let returned = answer["batchItemFailures"].as_array().unwrap().len();
        let copies = setup.queue.messages();
        assert_eq!(setup.vero.vero_calls().len() + returned + copies.len(), 80);
        if receives < 3 {
            assert!(returned > 0 && copies.is_empty(), "received {receives} times: {returned} return");
            continue;
        }
        assert!(returned == 0 && !copies.is_empty(), "received {receives} times: {returned} return");
        for copy in copies {
            let body = copy.json();
            assert_eq!((&body["destinations"], &body["attempt"]), (&json!(["vero_track"]), &json!(5)));
            assert_eq!((copy.state, copy.delay), (State::Visible, Duration::ZERO));
        }
        assert_eq!(setup.sqs.called("ChangeMessageVisibilityBatch"), 0);
    }
}
