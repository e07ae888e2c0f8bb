//! A request's fields, taken out one by one, so that each fault names its field and what would do in its place.

use relay_core::timestamp::Timestamp;
use serde_json::{Map, Value};

/// What is wrong with an event, in words that tell how to mend it. Holds no value of the event's, nor a name that is not
/// known here: there may be addresses among them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}, for example {example}")]
pub struct BadRequest {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it, and what it must be.
    pub problem: String,
    /// What would do.
    pub example: &'static str,
}

impl BadRequest {
    /// A fault of a field.
    pub fn new(field: &'static str, problem: impl Into<String>, example: &'static str) -> Self {
        BadRequest { field, problem: problem.into(), example }
    }
}

/// The fields that nobody has taken yet.
#[derive(Debug)]
pub struct Fields {
    of: &'static str,
    fields: Map<String, Value>,
    known: Vec<&'static str>,
    example: &'static str,
}

impl Fields {
    /// The fields of an object that is called so; `example` is a whole event that would do.
    pub fn of(of: &'static str, fields: Map<String, Value>, example: &'static str) -> Self {
        Fields { of, fields, known: Vec::new(), example }
    }

    /// Takes a field; null is as good as none.
    pub fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    /// Takes a text.
    ///
    /// # Errors
    /// If it is something else, or empty.
    pub fn text(&mut self, field: &'static str, example: &'static str) -> Result<Option<String>, BadRequest> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(BadRequest::new(field, "must be a text that is not empty", example)),
        }
    }

    /// Takes a list of texts, at least one and at most `max`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn texts(
        &mut self,
        field: &'static str,
        max: usize,
        example: &'static str,
    ) -> Result<Option<Vec<String>>, BadRequest> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let texts = value.as_array().filter(|list| (1..=max).contains(&list.len())).and_then(|list| {
            let texts = list.iter().map(|text| text.as_str().filter(|text| !text.is_empty()));
            texts.map(|text| text.map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.map(Some).ok_or_else(|| {
            BadRequest::new(field, format!("must be a list of 1 to {max} texts, none of them empty"), example)
        })
    }

    /// Takes true or false; false when it is not there.
    ///
    /// # Errors
    /// If it is something else.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, BadRequest> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(BadRequest::new(field, "must be true or false", "true")),
        }
    }

    /// Takes a whole number from 1 to `max`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number(
        &mut self,
        field: &'static str,
        max: u64,
        example: &'static str,
    ) -> Result<Option<u64>, BadRequest> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let number = value.as_u64().filter(|number| (1..=max).contains(number));
        number
            .map(Some)
            .ok_or_else(|| BadRequest::new(field, format!("must be a whole number from 1 to {max}"), example))
    }

    /// Takes a time, or a date, which stands for its midnight in UTC.
    ///
    /// # Errors
    /// If it is something else.
    pub fn time(&mut self, field: &'static str) -> Result<Option<Timestamp>, BadRequest> {
        const EXAMPLE: &str = "\"2026-11-20T00:00:00Z\" or \"2026-11-20\"";
        let Some(value) = self.take(field) else { return Ok(None) };
        let time = value.as_str().and_then(|text| {
            Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
        });
        let problem = "must be an RFC 3339 time or a date";
        time.map(Some).ok_or_else(|| BadRequest::new(field, problem, EXAMPLE))
    }

    /// What is there and has not been taken is a slip of the pen.
    ///
    /// # Errors
    /// If there is any.
    pub fn end(self) -> Result<(), BadRequest> {
        if self.fields.is_empty() {
            return Ok(());
        }
        let problem = format!("has a field that is none of {}", self.known.join(", "));
        Err(BadRequest::new(self.of, problem, self.example))
    }
}
