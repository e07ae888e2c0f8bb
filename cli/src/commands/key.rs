//! `relay key set`: stores a key where the functions read it.

use std::process::ExitCode;

use serde_json::json;

use super::Done;
use crate::cloud::Cloud;
use crate::console::Console;
use crate::error::Error;
use crate::options::{Key, KeyName};

impl KeyName {
    fn parameter(self) -> &'static str {
        match self {
            KeyName::Segment => "SegmentWriteKeyParameter",
            KeyName::Vero => "VeroAuthTokenParameter",
            KeyName::SharedSecret => "SegmentSharedSecretParameter",
            KeyName::AddressHash => "AddressHashSecretParameter",
        }
    }

    /// The last part of the name in SSM that the docs propose.
    fn usual_name(self) -> &'static str {
        match self {
            KeyName::Segment => "segment-write-key",
            KeyName::Vero => "vero-auth-token",
            KeyName::SharedSecret => "segment-shared-secret",
            KeyName::AddressHash => "address-hash-secret",
        }
    }
}

pub(super) async fn run(cloud: &Cloud, console: Console, Key::Set(options): &Key) -> Done {
    // Before the first deployment there is no stack.
    let stack = match cloud.describe().await {
        Err(Error::NotFound(_)) => None,
        stack => Some(stack?),
    };
    let key = options.key;
    let named = stack.as_ref().map(|stack| stack.parameter(key.parameter())).filter(|name| !name.is_empty());
    let name = named.map_or_else(|| format!("/{}/{}", cloud.stack, key.usual_name()), str::to_owned);
    if options.keep_old && key != KeyName::SharedSecret {
        return Err(Error::Refused(
            "--keep-old is for shared-secret: a destination has one key at a time".to_owned(),
        ));
    }
    let mut value = console.secret(&name)?;
    check(&value)?;
    if options.keep_old {
        // ingest takes each line for a secret.
        let present = cloud.read_secret(&name).await?;
        value = [present.lines().last().unwrap_or_default(), &value].join("\n");
    }
    let kms_key = stack.as_ref().map(|stack| stack.parameter("KmsKeyArn")).filter(|arn| !arn.is_empty());
    if let Some(stack) = &stack {
        // Before it is stored: Segment answers 200 to a key of Vero's, too.
        let same = cloud.same_as(stack, &name, &value).await?;
        if !same.is_empty() {
            return Err(Error::Refused(format!(
                "the key was not stored: it is the one in {}, and two services do not give out the same",
                same.join(", ")
            )));
        }
    }
    let before = cloud.read_secret(&name).await.ok();
    cloud.store_secret(&name, &value, kms_key).await?;
    if cloud.read_secret(&name).await? != value {
        return Err(Error::Refused(format!(
            "SSM has something else in {name} than was stored: store it again"
        )));
    }
    let is_read = named.is_some();
    console.show(&json!({"name": name, "is_read": is_read}), || {
        let beside = match &before {
            Some(before) if *before == value => "; it is the same as before",
            Some(_) => "; it differs from the one before",
            None => "",
        };
        console.say(format!("stored as {name}{beside}"));
        match (stack.is_some(), is_read) {
            (true, true) => console.say(match key {
                KeyName::Segment => "The worker uses it within five minutes. Segment answers 200 to a wrong key, too: `relay doctor --send` then says where to look. Until you have seen the check there, keep the old key valid.",
                KeyName::Vero => "The worker uses it within five minutes. If it is wrong, Vero refuses it, and nothing is lost.",
                KeyName::SharedSecret => "ingest uses it within five minutes.",
                KeyName::AddressHash => "The worker uses it within five minutes. Another secret makes other hashes: to Segment, known users become new ones.",
            }),
            (true, false) => console.say(format!("The stack does not read it yet: relay set {}={name}", key.parameter())),
            (false, _) => console.say(format!("Give it to the stack when you deploy it: {}={name}", key.parameter())),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What no key is.
fn check(value: &str) -> Result<(), Error> {
    let problem = if value.is_empty() {
        "nothing was given"
    } else if value.chars().any(char::is_whitespace) {
        "it has blanks or line breaks, and no key has"
    } else if !value.chars().all(|c| c.is_ascii_graphic()) {
        "it has characters that no key has"
    } else {
        return Ok(());
    };
    Err(Error::Refused(format!("the key was not stored: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_not_stored() {
        assert!(check("QUI5ydwIGeFFTa1IvCBUhxL9PyW5B0jE").is_ok());
        for value in ["", " key", "ke y", "key\t", "kéy", "key\u{200b}"] {
            assert!(check(value).is_err(), "{value:?}");
        }
    }
}
