//! Documents that the stack reads from SSM: the blueprint, and the settings of webhook endpoints.

use std::fs;
use std::io;
use std::path::Path;

use relay_core::document::{DocumentError, has_each_field_once};
use serde_json::json;

use crate::cloud::Cloud;
use crate::console::Console;
use crate::error::Error;
use crate::model::state::Stack;

/// What SSM keeps in a parameter (Systems Manager quotas, "Maximum size for an advanced parameter value").
const MOST: usize = 8 * 1024;

/// Reads the document in a file, or from standard input by `-`, and its text.
pub(super) fn read<T>(
    file: &Path,
    parse: impl FnOnce(&str) -> Result<T, DocumentError>,
) -> Result<(String, T), Error> {
    let name = file.display().to_string();
    let text = match name.as_str() {
        "-" => io::read_to_string(io::stdin()),
        _ => fs::read_to_string(file),
    };
    let text = text.map_err(|error| Error::Io(name.clone(), error))?;
    if text.len() > MOST {
        return Err(Error::Refused(format!("{name} has {} bytes, and SSM keeps {MOST} at most", text.len())));
    }
    let document = parse(&text).and_then(|document| has_each_field_once(&text).map(|()| document));
    let document = document.map_err(|error| {
        let advice = nearest(&error).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        Error::Refused(format!("{name} {error}{advice}"))
    })?;
    Ok((text, document))
}

/// Of the names that were expected the one that is most like the one that is there.
fn nearest(error: &DocumentError) -> Option<&str> {
    let name = error.path.rsplit('.').next()?;
    let (_, expected) = error.problem.split_once("expected ")?;
    let known = expected.split('`').skip(1).step_by(2);
    let similar = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let (similarity, known) = similar.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (similarity > 0.5 && known != name).then_some(known)
}

/// A parameter of the stack that names a document in SSM.
pub(super) struct Place {
    pub parameter: &'static str,
    /// The last part of the name in SSM that the docs propose.
    pub usual_name: &'static str,
    /// It is stored encrypted.
    pub is_secret: bool,
}

impl Place {
    /// Stores a document. Before the first deployment there is no stack.
    pub(super) async fn store(
        &self,
        cloud: &Cloud,
        console: Console,
        stack: Option<&Stack>,
        text: &str,
    ) -> Result<(), Error> {
        let parameter = self.parameter;
        let named = stack.map(|stack| stack.parameter(parameter)).filter(|name| !name.is_empty());
        let name = named.map_or_else(|| format!("/{}/{}", cloud.stack, self.usual_name), str::to_owned);
        if self.is_secret {
            let kms_key = stack.map(|stack| stack.parameter("KmsKeyArn")).filter(|arn| !arn.is_empty());
            cloud.store_secret(&name, text, kms_key).await?;
        } else {
            cloud.store_text(&name, text).await?;
        }
        console.show(&json!({"name": name, "is_read": named.is_some()}), || {
            console.say(format!("stored as {name}"));
            console.say(match named {
                Some(_) => "The worker uses it within five minutes.".to_owned(),
                None => format!("The stack does not read it yet: relay set {parameter}={name}"),
            });
        })
    }
}

/// The stack, if there is one.
pub(super) async fn stack(cloud: &Cloud) -> Result<Option<Stack>, Error> {
    match cloud.describe().await {
        Err(Error::NotFound(_)) => Ok(None),
        stack => Ok(Some(stack?)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use relay_core::blueprint::Blueprint;

    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(br#"{"deny":["A"],"deny":["B"]}"#).unwrap();
        let refused = read(file.path(), Blueprint::parse).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("has a mistake at `.`: has a field twice"), "{refused}");
    }

    #[test]
    fn an_unknown_name_has_its_nearest_known_one() {
        for (document, expected) in [
            (r#"{"version":2,"webhooks":{"segment":{"rules":[{"sned":false}]}}}"#, Some("send")),
            (
                r#"{"version":2,"webhooks":{"segment":{"rules":[{"when":{"chanel":"sms"}}]}}}"#,
                Some("channel"),
            ),
            (r#"{"evnts":{}}"#, Some("events")),
            (r#"{"something":{}}"#, None),
            (r#"{"deny":5}"#, None),
        ] {
            let error = Blueprint::parse(document).unwrap_err();
            assert_eq!(nearest(&error), expected, "{error}");
        }
    }
}
