//! First-party events, against a Vero that misbehaves on command.

use std::time::{Duration, Instant};

use harness::{Behaviour, Testbed, When};
use serde_json::{Value, json};

use crate::setup::{Setup, envelope, now, setup, setup_in, setup_with};

impl Setup {
    /// What Vero took: the path's end, and whom it is about.
    fn taken(&self) -> Vec<(String, String)> {
        let calls = self.vero.vero_calls().into_iter();
        calls
            .map(|(path, body)| {
                let user = body.pointer("/identity/id").or(body.get("id")).cloned().unwrap_or_default();
                (path.trim_start_matches("/api/v2/").to_owned(), user.as_str().unwrap_or("-").to_owned())
            })
            .collect()
    }
}

fn from_segment(id: &str, payload: Value) -> Value {
    envelope(id, "segment", payload)
}

fn received_at(mut envelope: Value, time: &str, place: u32) -> Value {
    envelope["received_at"] = time.into();
    envelope["place"] = place.into();
    envelope
}

fn track(id: &str, user: &str, event: &str) -> Value {
    from_segment(id, json!({"type": "track", "event": event, "userId": user, "messageId": id}))
}

fn tagged(id: &str, user: &str, tags: Value) -> Value {
    let integrations = json!({"Vero": {"tags": tags}});
    from_segment(id, json!({"type": "identify", "userId": user, "traits": {}, "integrations": integrations}))
}

#[tokio::test(flavor = "multi_thread")]
async fn first_party_events_go_to_vero_and_not_back_to_segment() {
    let setup = setup().await;
    setup
        .deliver(&[
            track("e1", "u1", "Signed Up"),
            from_segment("e2", json!({"type": "page", "userId": "u2", "name": "Home"})),
            from_segment("e3", json!({"type": "screen", "userId": "u3"})),
            from_segment("e4", json!({"type": "identify", "userId": "u4", "traits": {"a": 1}})),
            from_segment("e5", json!({"type": "group", "userId": "u5", "groupId": "g"})),
            from_segment("e6", json!({"type": "alias", "userId": "u6", "previousId": "p6"})),
            track("e7", "u7", "unsubscribe"),
            track("e8", "u8", "Resubscribe"),
            from_segment("e9", json!({"type": "track", "event": "x", "anonymousId": "a"})),
        ])
        .await;
    let mut taken = setup.taken();
    taken.sort();
    let expected = [
        ("events/track", "u1"),
        ("events/track", "u2"),
        ("events/track", "u3"),
        ("users/reidentify", "p6"),
        ("users/resubscribe", "u8"),
        ("users/track", "u4"),
        ("users/track", "u5"),
        ("users/unsubscribe", "u7"),
    ];
    assert_eq!(taken, expected.map(|(path, user)| (path.to_owned(), user.to_owned())));
    let methods: Vec<(String, String)> =
        setup.vero.requests().into_iter().map(|request| (request.path, request.method)).collect();
    assert!(methods.iter().all(|(path, method)| (method == "PUT") == path.ends_with("/reidentify")));
    assert_eq!(setup.segment.count(), 0);
    assert!(setup.queue.messages().is_empty() && setup.dead.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_calls_keep_their_order_and_users_go_side_by_side() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::Slow(Duration::from_millis(30)), When::always());
    let time = |second: usize| format!("2026-11-26T05:04:{second:02}.000Z");
    let mut envelopes = Vec::new();
    for user in ["a", "b", "c", "d"] {
        for number in 0..10 {
            // Two requests' events, mixed up and backwards.
            let event = track(&format!("{user}{number}"), user, &format!("{number}"));
            envelopes.push(received_at(event, &time(number / 5), (number % 5) as u32));
        }
    }
    envelopes.reverse();
    let start = Instant::now();
    setup.deliver(&envelopes).await;
    assert!(start.elapsed() < Duration::from_millis(4 * 10 * 30), "{:?}", start.elapsed());
    let calls = setup.vero.vero_calls();
    assert_eq!(calls.len(), 40);
    for user in ["a", "b", "c", "d"] {
        let mine = calls.iter().filter(|(_, call)| call["identity"]["id"] == user);
        let events: Vec<&str> = mine.map(|(_, call)| call["event_name"].as_str().unwrap()).collect();
        assert_eq!(events, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_come_after_their_user_and_are_owed_alone() {
    let setup = setup().await;
    let tags = json!({"action": "add", "values": ["vip"]});
    // The call fails: no tags. What is owed is the whole.
    setup.vero.behave(Behaviour::status(503), When::always().path("/api/v2/users/track"));
    setup.deliver(&[tagged("e1", "u1", tags.clone())]).await;
    assert!(setup.taken().is_empty());
    assert_eq!(setup.queue.bodies()[0]["destinations"], json!(["vero_track"]));

    // The tags fail: they are owed alone.
    setup.vero.recover();
    setup.vero.behave(Behaviour::status(503), When::always().path("/api/v2/users/tags/edit"));
    setup.deliver(&[tagged("e2", "u2", tags.clone())]).await;
    assert_eq!(setup.taken(), [("users/track".to_owned(), "u2".to_owned())]);
    let copy = setup.queue.bodies().pop().unwrap();
    assert_eq!(
        (&copy["id"], &copy["destinations"], &copy["attempt"]),
        (&json!("e2"), &json!(["vero_tags"]), &json!(1))
    );
    setup.vero.recover();
    setup.vero.clear();
    setup.deliver(&[copy]).await;
    assert_eq!(setup.taken(), [("users/tags/edit".to_owned(), "u2".to_owned())]);

    // They will never be taken: their letter is their own.
    setup.vero.clear();
    setup.vero.behave(Behaviour::status(404), When::always().path("/api/v2/users/tags/edit"));
    setup.deliver(&[tagged("e3", "u3", tags), tagged("e4", "u4", json!({"action": "set"}))]).await;
    assert_eq!(setup.taken().len(), 2, "a malformed option loses no event");
    let mut letters: Vec<(Value, Value, Value)> = setup
        .dead
        .bodies()
        .into_iter()
        .map(|letter| (letter["id"].clone(), letter["destinations"].clone(), letter["reason"].clone()))
        .collect();
    letters.sort_by_key(|letter| letter.0.to_string());
    assert_eq!(
        letters,
        [
            (json!("e3"), json!(["vero_tags"]), json!("refused")),
            (json!("e4"), json!(["vero_tags"]), json!("malformed_tags")),
        ]
    );
}

/// Whatever fails at every nth request, and after whatever went back has come again.
#[tokio::test(flavor = "multi_thread")]
async fn tags_never_go_out_before_their_user() {
    for behaviour in
        [Behaviour::status(503), Behaviour::status(429), Behaviour::status(404), Behaviour::LostAnswer]
    {
        for nth in 1..5 {
            let setup = setup().await;
            setup.vero.behave(behaviour.clone(), When::every(nth));
            let tags = json!({"add": ["vip"], "remove": ["lead"]});
            let user = |number: usize| format!("u{number}");
            let batch: Vec<Value> =
                (0..20).map(|n| tagged(&format!("e{n}"), &user(n), tags.clone())).collect();
            setup.deliver(&batch).await;
            setup.deliver(&setup.queue.bodies()).await;
            let calls = setup.taken();
            for (at, (_, user)) in calls.iter().enumerate().filter(|(_, (path, _))| path == "users/tags/edit")
            {
                let earlier = calls[..at].iter().any(|(path, other)| path == "users/track" && other == user);
                assert!(earlier, "{behaviour:?} at every request of {nth}: {calls:?}");
            }
            assert!(
                nth == 1 || calls.iter().any(|(path, _)| path == "users/tags/edit"),
                "{behaviour:?} {nth}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_may_be_owed_in_two_ways_at_once() {
    let setup = setup().await;
    let tags = json!({"add": ["vip"]});
    let mut only_tags = tagged("e1", "u1", tags.clone());
    only_tags["destinations"] = json!(["vero_tags"]);
    setup.deliver(&[only_tags, tagged("e1", "u1", tags)]).await;
    let taken = setup.taken();
    assert!(taken.iter().any(|(path, _)| path == "users/track"), "{taken:?}");
    // One messageId, two mappings of a Webhooks destination.
    setup.vero.clear();
    let identify = from_segment("e2", json!({"type": "identify", "userId": "u"}));
    setup.deliver(&[track("e2", "u", "e"), identify, track("e2", "u", "e")]).await;
    assert_eq!(setup.taken().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_one_call() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::status(503), When::always());
    let batch: Vec<Value> = (0..5).map(|number| track(&format!("e{number}"), "u", "e")).collect();
    setup.deliver(&batch).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    setup.vero.clear();
    setup.deliver(&batch).await;
    assert_eq!(setup.vero.count(), 1, "the others wait for its answer, and then go back");
    assert_eq!(setup.queue.messages().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_fails_safe() {
    let setup = setup().await;
    let old = "2026-11-20T05:04:03.123Z";
    setup
        .deliver(&[
            received_at(track("e1", "u1", "Unsubscribe"), old, 0),
            received_at(track("e2", "u2", "Resubscribe"), old, 0),
        ])
        .await;
    assert_eq!(setup.taken(), [("users/unsubscribe".to_owned(), "u1".to_owned())]);
    let [letter] = &setup.dead.bodies()[..] else { panic!("one dead letter") };
    assert_eq!((&letter["id"], &letter["reason"]), (&json!("e2"), &json!("stale_consent")));

    // A wish that was taken back while it was owed.
    setup.vero.clear();
    setup.vero.behave(Behaviour::status(503), When::always().path("/api/v2/users/resubscribe"));
    let time = now();
    setup
        .deliver(&[
            received_at(track("e4", "u3", "Unsubscribe"), &time, 1),
            received_at(track("e3", "u3", "Resubscribe"), &time, 0),
        ])
        .await;
    assert_eq!(setup.taken(), [("users/unsubscribe".to_owned(), "u3".to_owned())]);
    let letter = setup.dead.bodies().pop().unwrap();
    assert_eq!((&letter["id"], &letter["reason"]), (&json!("e3"), &json!("stale_consent")));
    // Tags are no wish for messages.
    let mut tags = tagged("e6", "u5", json!({"add": ["vip"]}));
    tags["payload"]["type"] = "track".into();
    tags["payload"]["event"] = "Resubscribe".into();
    tags["destinations"] = json!(["vero_tags"]);
    setup.deliver(&[received_at(tags, old, 0)]).await;
    assert_eq!(setup.taken().pop(), Some(("users/tags/edit".to_owned(), "u5".to_owned())));
    setup.deliver(&[track("e5", "u4", "Resubscribe")]).await;
    let [copy] = &setup.queue.bodies()[..] else { panic!("one copy") };
    assert_eq!(copy["id"], "e5", "it may still come in time");
}

/// A resubscribe by id and address, received before anything else.
fn resubscribe(id: &str, user: &str) -> Value {
    let mut event = track(id, user, "Resubscribe");
    event["payload"]["context"] = json!({"traits": {"email": format!("{user}@example.com")}});
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_is_withdrawn_in_several_forms() {
    let by_address = |address: &str| {
        let context = json!({"traits": {"email": address}});
        from_segment("no", json!({"type": "track", "event": "unsubscribe", "context": context}))
    };
    let tagged_alone = |id: &str, tags: Value| {
        let mut event = tagged(id, "u", tags);
        event["destinations"] = json!(["vero_tags"]);
        event
    };
    let linked = json!({"type": "identify", "userId": "u", "traits": {"email": "new@example.com"}});
    let deletion = from_segment("no", json!({"type": "delete", "userId": "u"}));
    let unsubscribed = || json!({"action": "add", "values": ["vip", "unsubscribed"]});
    let forms = [
        ("by id", vec![track("no", "u", "Unsubscribe")]),
        ("by the address alone", vec![by_address("u@example.com")]),
        ("by the address in another case", vec![by_address("U@Example.com")]),
        ("by another address of the user's", vec![from_segment("e0", linked), by_address("new@example.com")]),
        ("by Vero's tag", vec![tagged("no", "u", unsubscribed())]),
        ("by the tag in RudderStack's form", vec![tagged("no", "u", json!({"add": [" Unsubscribed "]}))]),
        ("by the tag alone", vec![tagged_alone("no", unsubscribed())]),
        (
            "by a tag that another's event brings",
            vec![tagged("no", "other", json!({"action": "ADD", "values": ["UNSUBSCRIBED"], "id": "u"}))],
        ),
        ("by a deletion", vec![deletion]),
    ];
    for paused in [false, true] {
        for (form, withdrawal) in &forms {
            let destinations = if paused { "vero_track" } else { "" };
            let setup =
                setup_with(&[("FORWARD_DELETES", "true"), ("PAUSED_DESTINATIONS", destinations)]).await;
            setup.vero.behave(Behaviour::status(503), When::always().path("/api/v2/users/resubscribe"));
            let time = now();
            let mut batch = vec![received_at(resubscribe("yes", "u"), &time, 0)];
            let places = 1..;
            batch.extend(
                withdrawal.iter().cloned().zip(places).map(|(event, place)| received_at(event, &time, place)),
            );
            batch.reverse();
            setup.deliver(&batch).await;
            let letters = setup.dead.bodies();
            let [letter] = &letters[..] else { panic!("{form}, paused {paused}: {letters:?}") };
            assert_eq!(
                (&letter["id"], &letter["destinations"], &letter["reason"]),
                (&json!("yes"), &json!(["vero_track"]), &json!("stale_consent")),
                "{form}, paused {paused}"
            );
            let copies = setup.queue.bodies();
            assert!(copies.iter().all(|copy| copy["id"] != "yes"), "{form}, paused {paused}: {copies:?}");
            assert_eq!(copies.len(), if paused { withdrawal.len() } else { 0 }, "{form}, paused {paused}");
        }
    }
}

/// The copies of a batch: the withdrawal is owed to the archive alone, so that nothing would follow the resubscribe.
#[tokio::test(flavor = "multi_thread")]
async fn what_vero_has_had_withdraws_a_consent_that_is_still_owed() {
    let time = now();
    let owed = |mut event: Value, place: u32, destination: &str| {
        event["destinations"] = json!([destination]);
        received_at(event, &time, place)
    };
    let yes = || resubscribe("yes", "u");
    let unsubscribed = || tagged("no", "u", json!({"add": ["unsubscribed"]}));
    for paused in ["", "vero_track"] {
        for (withdrawal, destination) in [
            (track("no", "u", "Unsubscribe"), "archive"),
            (track("no", "u", "Unsubscribe"), "vero_tags"),
            (unsubscribed(), "archive"),
        ] {
            let setup = setup_with(&[("PAUSED_DESTINATIONS", paused)]).await;
            setup.deliver(&[owed(withdrawal, 1, destination), owed(yes(), 0, "vero_track")]).await;
            assert!(setup.taken().is_empty(), "{destination}: {:?}", setup.taken());
            let letters = setup.dead.bodies();
            let letter = letters.iter().find(|letter| letter["id"] == "yes").unwrap();
            assert_eq!(letter["reason"], "stale_consent");
        }
    }
    for (other, place, destination) in [
        // Before it, of somebody else, or nothing that Vero has had.
        (track("no", "u", "Unsubscribe"), 0, "archive"),
        (track("no", "v", "Unsubscribe"), 2, "archive"),
        (unsubscribed(), 2, "vero_tags"),
    ] {
        let setup = setup().await;
        setup.deliver(&[owed(other, place, destination), owed(yes(), 1, "vero_track")]).await;
        let paths: Vec<String> = setup.taken().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths[0], "users/resubscribe", "{destination}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_withdrawal_of_the_user_s_takes_nothing_back() {
    let others = |tags: Value| tagged("e1", "u", tags);
    for events in [
        // Another's, though one event is about both.
        vec![others(json!({"action": "add", "values": ["vip"], "id": "v"})), track("e2", "v", "Unsubscribe")],
        vec![others(json!({"action": "add", "values": ["unsubscribed"], "id": "v"}))],
        vec![others(json!({"add": ["vip"], "remove": ["unsubscribed"]}))],
        vec![track("e1", "u", "Unsubscribed")],
        vec![track("e1", "U", "Unsubscribe")],
    ] {
        let setup = setup().await;
        setup.vero.behave(Behaviour::status(503), When::always().path("/api/v2/users/resubscribe"));
        let time = now();
        let mut batch = vec![received_at(resubscribe("yes", "u"), &time, 0)];
        batch.extend(events.iter().cloned().zip(1..).map(|(event, place)| received_at(event, &time, place)));
        setup.deliver(&batch).await;
        assert!(setup.dead.messages().is_empty(), "{events:?}");
        let [copy] = &setup.queue.bodies()[..] else { panic!("one copy: {events:?}") };
        assert_eq!(copy["id"], "yes");
    }
}

/// The second try of a resubscribe comes before the withdrawal that follows it, by whatever it names the user.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_calls_keep_their_order_by_id_and_by_address() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::status(503), When::first(1).path("/api/v2/users/resubscribe"));
    let time = now();
    let context = json!({"traits": {"email": "U@example.com"}});
    let unsubscribe =
        from_segment("no", json!({"type": "track", "event": "unsubscribe", "context": context}));
    setup
        .deliver(&[received_at(unsubscribe, &time, 1), received_at(resubscribe("yes", "u"), &time, 0)])
        .await;
    let paths: Vec<String> = setup.taken().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["users/resubscribe", "users/unsubscribe"]);
    assert!(setup.dead.messages().is_empty() && setup.queue.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_kept_or_carried_out() {
    let deletion = || from_segment("e1", json!({"type": "delete", "userId": "u1"}));
    let setup = setup().await;
    setup.deliver(&[deletion()]).await;
    assert_eq!(setup.vero.count(), 0);
    let [letter] = &setup.dead.bodies()[..] else { panic!("one dead letter") };
    assert_eq!(
        (&letter["reason"], &letter["destinations"]),
        (&json!("delete_request"), &json!(["vero_track"]))
    );
    let setup = setup_with(&[("FORWARD_DELETES", "true")]).await;
    setup.deliver(&[letter]).await;
    assert_eq!(setup.taken(), [("users/delete".to_owned(), "u1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_nowhere_to_go_is_kept() {
    let setup = setup_with(&[("VERO_AUTH_TOKEN_PARAMETER", "")]).await;
    let mut tags = track("e2", "u", "e");
    tags["destinations"] = json!(["vero_tags"]);
    let mut to_segment = track("e3", "u", "e");
    to_segment["destinations"] = json!(["segment"]);
    setup
        .deliver(&[track("e1", "u", "e"), tags, to_segment, from_segment("e4", json!({"type": "nonsense"}))])
        .await;
    let mut letters: Vec<String> = setup
        .dead
        .bodies()
        .into_iter()
        .map(|letter| format!("{} {} {}", letter["id"], letter["destinations"], letter["reason"]))
        .collect();
    letters.sort();
    assert_eq!(
        letters,
        [
            r#""e1" ["vero_track"] "destination_off""#,
            r#""e2" ["vero_tags"] "destination_off""#,
            r#""e4" null "unknown_type""#,
        ]
    );
    assert_eq!(setup.segment.count(), 0, "Segment does not get what came from it");
}

#[tokio::test(flavor = "multi_thread")]
async fn vero_s_terms_hold_for_every_call() {
    let setup = setup().await;
    // An address that Vero does not believe, on another call than an event's.
    setup.vero.behave(Behaviour::status(400), When::always().body(|body| body.get("email").is_some()));
    let identify = json!({"type": "identify", "userId": "u", "traits": {"email": "a@b.c"}});
    setup.deliver(&[from_segment("e1", identify)]).await;
    assert_eq!(setup.taken(), [("users/track".to_owned(), "u".to_owned())]);
    // A user who is not there is no fault of the operator's; a path that is not there is.
    for (event, dead) in [("Unsubscribe", 1), ("Anything", 0)] {
        let setup = crate::setup::setup().await;
        setup.vero.behave(Behaviour::status(404), When::always());
        setup.deliver(&[track("e1", "u", event)]).await;
        assert_eq!((setup.dead.messages().len(), setup.queue.messages().len()), (dead, 1 - dead), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blueprint_comes_from_a_variable_or_from_ssm() {
    const GOOD: &str = r#"{"events":{"Signed Up":{"rename":"Joined"}}}"#;
    const BAD: &str = r#"{"events":{"Signed Up":{"rename":5}}}"#;
    let setup_with = async |variable| {
        let testbed = Testbed::start().await.unwrap();
        testbed.sqs.parameter("/relay/good", GOOD);
        testbed.sqs.parameter("/relay/bad", BAD);
        setup_in(testbed, &[variable]).await
    };
    for variable in [("BLUEPRINT", GOOD), ("BLUEPRINT_PARAMETER", "/relay/good")] {
        let setup = setup_with(variable).await;
        setup.deliver(&[track("e1", "u", "Signed Up"), track("e2", "u", "Order Completed")]).await;
        let names: Vec<Value> =
            setup.vero.vero_calls().into_iter().map(|(_, call)| call["event_name"].clone()).collect();
        assert_eq!(names, ["Joined", "Completed order"]);
    }
    for variable in [("BLUEPRINT", BAD), ("BLUEPRINT_PARAMETER", "/relay/bad")] {
        let setup = setup_with(variable).await;
        let error = setup.worker.init_error().await.unwrap();
        let message = error.body["errorMessage"].as_str().unwrap();
        assert!(message.contains("BLUEPRINT") && message.contains("`events.Signed Up.rename`"), "{message}");
        assert_eq!(error.code, Some(1));
    }
}
