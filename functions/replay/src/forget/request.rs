//! Which user is to be forgotten.

use relay_core::archive::Archived;
use serde_json::{Map, Value};

use crate::request_fields::{BadRequest, RequestFields};

const EXAMPLE: &str = r#"{"forget":{"user_id":"123","email":"a@example.com"},"dry_run":true}"#;

/// Rows with this id or this address are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetRequest {
    user_id: Option<String>,
    /// In lower case, since addresses are compared in any case.
    email: Option<String>,
    pub dry_run: bool,
}

impl ForgetRequest {
    pub fn parse(event: Map<String, Value>) -> Result<Self, BadRequest> {
        let mut fields = RequestFields::new("event", event, EXAMPLE);
        let Some(Value::Object(user)) = fields.take("forget") else {
            return Err(BadRequest::new("forget", "must be an object that says whom", EXAMPLE));
        };
        let dry_run = fields.flag("dry_run")?;
        fields.end()?;
        let mut user = RequestFields::new("forget", user, EXAMPLE);
        let user_id = user.text("user_id", "\"123\"")?;
        let email = user.text("email", "\"a@example.com\"")?;
        user.end()?;
        if user_id.is_none() && email.is_none() {
            return Err(BadRequest::new("forget", "must have a user_id, an email, or both", EXAMPLE));
        }
        Ok(ForgetRequest { user_id, email: email.map(|email| email.to_lowercase()), dry_run })
    }

    pub fn is_of_user(&self, row: &Archived<'_>) -> bool {
        let is_id = self.user_id.is_some() && row.user_id == self.user_id;
        let email = || row.email.as_ref().map(|email| email.to_lowercase());
        is_id || (self.email.is_some() && email() == self.email)
    }
}
