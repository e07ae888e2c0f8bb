//! The fields of a request, taken one by one, so that each error names its field and a value that would do.

use relay_core::timestamp::Timestamp;
use serde_json::{Map, Value};

/// What is wrong with an event, and how to correct it. Holds no value of the event, and no name of a field that is not
/// known here: they may be addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}, for example {example}")]
pub struct BadRequest {
    pub field: &'static str,
    /// What is wrong with it, or what it must be.
    pub problem: String,
    pub example: &'static str,
}

impl BadRequest {
    pub fn new(field: &'static str, problem: impl Into<String>, example: &'static str) -> Self {
        BadRequest { field, problem: problem.into(), example }
    }
}

/// An object's fields that are not taken yet.
#[derive(Debug)]
pub struct RequestFields {
    object: &'static str,
    fields: Map<String, Value>,
    known: Vec<&'static str>,
    example: &'static str,
}

impl RequestFields {
    /// `object` is the object's name in errors; `example` is a whole event that would do.
    pub fn new(object: &'static str, fields: Map<String, Value>, example: &'static str) -> Self {
        RequestFields { object, fields, known: Vec::new(), example }
    }

    /// Takes a field. `null` counts as absent.
    pub fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    /// # Errors
    /// If the value is no text, or empty.
    pub fn text(&mut self, field: &'static str, example: &'static str) -> Result<Option<String>, BadRequest> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(BadRequest::new(field, "must be a text that is not empty", example)),
        }
    }

    /// # Errors
    /// If the value is no list of 1 to `max` texts.
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

    /// False if it is absent.
    ///
    /// # Errors
    /// If the value is neither true nor false.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, BadRequest> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(BadRequest::new(field, "must be true or false", "true")),
        }
    }

    /// # Errors
    /// If the value is no whole number from 1 to `max`.
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

    /// A date stands for its midnight in UTC.
    ///
    /// # Errors
    /// If the value is neither a time nor a date.
    pub fn time(&mut self, field: &'static str) -> Result<Option<Timestamp>, BadRequest> {
        const EXAMPLE: &str = "\"2026-11-20T00:00:00Z\" or \"2026-11-20\"";
        let Some(value) = self.take(field) else { return Ok(None) };
        let time = value.as_str().and_then(|text| {
            Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
        });
        let problem = "must be an RFC 3339 time or a date";
        time.map(Some).ok_or_else(|| BadRequest::new(field, problem, EXAMPLE))
    }

    /// # Errors
    /// If a field is left: its name is a typing error.
    pub fn end(self) -> Result<(), BadRequest> {
        if self.fields.is_empty() {
            return Ok(());
        }
        let problem = format!("has a field that is none of {}", self.known.join(", "));
        Err(BadRequest::new(self.object, problem, self.example))
    }
}
