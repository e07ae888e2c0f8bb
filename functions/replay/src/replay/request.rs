//! Which events of the archive are to go to which destinations again.

use relay_core::envelope::Source;
use relay_core::timestamp::Timestamp;
use serde_json::{Map, Value};

use super::parts::{Names, replayable};
use crate::request_fields::{BadRequest, RequestFields};

/// Ids in the event itself. A result of Athena can have more.
const MAX_IDS: usize = 10_000;
/// Users and types in one event.
const MAX_NAMES: usize = 1_000;
/// In events a second: what ten workers deliver.
const MAX_RATE: u64 = 10_000;
const DEFAULT_RATE: u64 = 100;
/// The longest range, in days: ten years.
const MAX_DAYS: u64 = 3_653;

/// A whole event, for errors that need one.
pub const EXAMPLE: &str =
    r#"{"from":"2026-11-20","to":"2026-11-21","destinations":["segment"],"dry_run":true}"#;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdFilter {
    All,
    These(Vec<String>),
    /// Those of a result that Athena wrote into the archive's bucket: the object's key.
    AthenaResult(String),
}

/// `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The first time of receipt.
    pub from: Timestamp,
    /// The time of receipt at which the range ends; it is not part of the range.
    pub to: Timestamp,
    pub types: Option<Vec<String>>,
    /// By id or by address.
    pub users: Option<Vec<String>>,
    pub ids: IdFilter,
    pub sources: Vec<Source>,
    pub destinations: Names,
    /// Events get new ids, so that no destination takes them for events that it has already.
    pub new_ids: bool,
    pub dry_run: bool,
    pub max_per_second: u32,
}

impl ReplayRequest {
    /// `bucket` is the archive's; `endpoints` are those that are on.
    pub fn parse(event: Map<String, Value>, bucket: &str, endpoints: &[String]) -> Result<Self, BadRequest> {
        let mut fields = RequestFields::new("event", event, EXAMPLE);
        let (from, to) = range(&mut fields)?;
        let request = ReplayRequest {
            from,
            to,
            types: fields.texts("types", MAX_NAMES, r#"["opened"]"#)?,
            users: fields.texts("users", MAX_NAMES, r#"["123","a@example.com"]"#)?,
            ids: ids(&mut fields, bucket)?,
            sources: sources(&mut fields)?,
            destinations: destinations(&mut fields, endpoints)?,
            new_ids: fields.flag("new_ids")?,
            dry_run: fields.flag("dry_run")?,
            max_per_second: fields.number("max_per_second", MAX_RATE, "100")?.unwrap_or(DEFAULT_RATE) as u32,
        };
        fields.end()?;
        Ok(request)
    }
}

fn range(fields: &mut RequestFields) -> Result<(Timestamp, Timestamp), BadRequest> {
    let mut required = |field: &'static str, problem: &str| {
        fields.time(field)?.ok_or_else(|| BadRequest::new(field, problem, EXAMPLE))
    };
    let from = required("from", "is missing: it must be the first time of receipt")?;
    let to = required("to", "is missing: a range without an end would never be done, so it must have one")?;
    if to <= from {
        return Err(BadRequest::new("to", "must be later than `from`", EXAMPLE));
    }
    if to.seconds_since(from) > MAX_DAYS * 86_400 {
        return Err(BadRequest::new("to", format!("must be within {MAX_DAYS} days of `from`"), EXAMPLE));
    }
    Ok((from, to))
}

fn ids(fields: &mut RequestFields, bucket: &str) -> Result<IdFilter, BadRequest> {
    const ID: &str = r#"["01935f3a-0000-7000-8000-000000000001"]"#;
    const RESULT: &str = r#""s3://<archive bucket>/athena/<execution>.csv""#;
    let ids = fields.texts("ids", MAX_IDS, ID)?;
    let result = fields.text("result", RESULT)?;
    match (ids, result) {
        (None, None) => Ok(IdFilter::All),
        (Some(ids), None) => Ok(IdFilter::These(ids)),
        (None, Some(url)) => {
            let key = url.strip_prefix("s3://").and_then(|rest| rest.strip_prefix(bucket)?.strip_prefix('/'));
            match key.filter(|key| key.starts_with("athena/") && key.ends_with(".csv")) {
                Some(key) => Ok(IdFilter::AthenaResult(key.to_owned())),
                None => {
                    let problem = "must be a CSV under athena/ in the archive's own bucket";
                    Err(BadRequest::new("result", problem, RESULT))
                }
            }
        }
        (Some(_), Some(_)) => {
            Err(BadRequest::new("result", "and `ids` are both there: one of them has to go", EXAMPLE))
        }
    }
}

fn sources(fields: &mut RequestFields) -> Result<Vec<Source>, BadRequest> {
    const NAMES: &str = r#"["vero"]"#;
    // In the order of their partitions' keys.
    const ALL: [Source; 2] = [Source::Segment, Source::Vero];
    let Some(names) = fields.texts("sources", ALL.len(), NAMES)? else { return Ok(ALL.to_vec()) };
    if names.iter().any(|name| Source::parse(name).is_none()) {
        return Err(BadRequest::new("sources", "must be of vero and segment", NAMES));
    }
    Ok(ALL.into_iter().filter(|source| names.iter().any(|name| name == source.as_str())).collect())
}

fn destinations(fields: &mut RequestFields, endpoints: &[String]) -> Result<Names, BadRequest> {
    const NAMES: &str = r#"["segment"]"#;
    let error = |problem: String| BadRequest::new("destinations", problem, NAMES);
    let mut known = replayable(endpoints);
    let names = fields.texts("destinations", known.len().min(Names::MOST), NAMES)?;
    let names = names.ok_or_else(|| error("is missing: it must say where the events go".to_owned()))?;
    Names::parse(&names, &known).ok_or_else(|| {
        let last = known.pop().unwrap_or_default();
        error(format!("must be of {} and {last}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(event: Value) -> Result<ReplayRequest, String> {
        let Value::Object(event) = event else { panic!("an object") };
        ReplayRequest::parse(event, "archive", &[]).map_err(|error| error.to_string())
    }

    fn with(more: Value) -> Result<ReplayRequest, String> {
        let mut event = json!({"from": "2026-11-20", "to": "2026-11-21", "destinations": ["segment"]});
        for (field, value) in more.as_object().unwrap() {
            event[field] = value.clone();
        }
        parse(event)
    }

    #[test]
    fn a_full_request() {
        let request = with(json!({
            "from": "2026-11-20T01:00:00+01:00", "types": ["opened"], "users": ["123", "a@b.c"],
            "ids": ["e1"], "sources": ["vero"], "destinations": ["vero_track", "segment"],
            "new_ids": true, "dry_run": true, "max_per_second": 7,
        }));
        let request = request.unwrap();
        assert_eq!(request.from.iso(), "2026-11-20T00:00:00.000Z");
        let destinations = &request.destinations;
        assert_eq!(destinations.names(destinations.all()), ["segment", "vero_track"]);
        assert_eq!((request.ids, request.max_per_second), (IdFilter::These(vec!["e1".into()]), 7));
        let least = with(json!({})).unwrap();
        assert_eq!((least.ids, least.max_per_second, least.sources.len()), (IdFilter::All, 100, 2));
        assert!(!least.new_ids && !least.dry_run);
    }

    #[test]
    fn a_range_without_an_end_is_refused() {
        let error = parse(json!({"from": "2026-11-20", "destinations": ["segment"]})).unwrap_err();
        assert!(error.starts_with("`to` is missing: a range without an end"), "{error}");
        let error = with(json!({"to": null})).unwrap_err();
        assert!(error.starts_with("`to` is missing"), "{error}");
    }

    #[test]
    fn errors_name_their_field_and_an_example() {
        for (field, start) in [
            (json!({"from": "yesterday"}), "`from` must be an RFC 3339 time or a date, for example"),
            (json!({"to": "2026-11-20"}), "`to` must be later than `from`, for example"),
            (json!({"to": "2099-11-20"}), "`to` must be within 3653 days"),
            (json!({"destinations": []}), "`destinations` must be a list of 1 to 3 texts"),
            (
                json!({"destinations": ["archive"]}),
                "`destinations` must be of segment, vero_track and vero_tags",
            ),
            (json!({"destinations": null}), "`destinations` is missing"),
            (json!({"sources": ["pigeon"]}), "`sources` must be of vero and segment"),
            (json!({"types": "opened"}), "`types` must be a list of 1 to 1000 texts"),
            (json!({"ids": [1]}), "`ids` must be a list of 1 to 10000 texts"),
            (
                json!({"ids": ["a"], "result": "s3://archive/athena/x.csv"}),
                "`result` and `ids` are both there",
            ),
            (json!({"result": "s3://other/athena/x.csv"}), "`result` must be a CSV under athena/"),
            (json!({"result": "s3://archive/data/x.csv"}), "`result` must be a CSV under athena/"),
            (json!({"max_per_second": 0}), "`max_per_second` must be a whole number from 1 to 10000"),
            (json!({"dry_run": "yes"}), "`dry_run` must be true or false"),
            (
                json!({"dryrun": true}),
                "`event` has a field that is none of from, to, types, users, ids, result, sources, destinations, new_ids, dry_run, max_per_second",
            ),
        ] {
            let error = with(field).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
        let by_result = with(json!({"result": "s3://archive/athena/x.csv"})).unwrap();
        assert_eq!(by_result.ids, IdFilter::AthenaResult("athena/x.csv".to_owned()));
    }
}
