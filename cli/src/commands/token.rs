//! `relay token`: makes tokens, and puts a new one in the place of an old one without a refused request.

use std::collections::BTreeMap;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Done, parameters};
use crate::cloud::Cloud;
use crate::console::{BOLD, Console, styled};
use crate::error::Error;
use crate::model::state::Stack;
use crate::options::{Token, TokenRotate, Way};

/// What a token is asked for in a script.
const VARIABLE: &str = "RELAY_TOKEN";

impl Way {
    fn parameter(self) -> &'static str {
        match self {
            Way::Vero => "WebhookTokenSha256",
            Way::Segment => "SegmentTokenSha256",
            Way::WriteKey => "WriteKeySha256",
            Way::BrowserKey => "BrowserKeySha256",
        }
    }

    /// What to do with a new token.
    fn advice(self, stack: &Stack, token: &str) -> String {
        let url = |output: &str| stack.output(output).unwrap_or("TOKEN").replace("TOKEN", token);
        match self {
            Way::Vero => format!(
                "In Vero, change the URL of every webhook (Settings, Project, Reporting Webhooks) to\n  {}",
                url("WebhookUrl")
            ),
            Way::Segment => {
                format!(
                    "In Segment, change the URL of every Webhooks destination to\n  {}",
                    url("SegmentWebhookUrl")
                )
            }
            Way::WriteKey => "Give it as the write key to your server SDKs.".to_owned(),
            Way::BrowserKey => "Give it as the write key to your pages and apps.".to_owned(),
        }
    }
}

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Token) -> Done {
    match options {
        Token::New => new(console),
        Token::Rotate(options) if options.finish => finish(cloud, console, options).await,
        Token::Rotate(options) => rotate(cloud, console, options).await,
    }
}

/// 32 random bytes, in characters that stand in a URL as they are.
pub(super) fn make() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Refused(format!("the system gives no random bytes: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

fn new(console: Console) -> Done {
    let token = make()?;
    let digest = digest(&token);
    console.show(&json!({"token": token, "digest": digest}), || {
        console.say(format!("token   {}", styled(BOLD, &token)));
        console.say(format!("digest  {digest}"));
        console.say("Keep the token where you keep passwords: it cannot be computed from the digest.");
    })?;
    Ok(ExitCode::SUCCESS)
}

fn digests(stack: &Stack, way: Way) -> Vec<&str> {
    stack.parameter(way.parameter()).split(',').filter(|digest| !digest.is_empty()).collect()
}

/// The first step: the new token opens the stack beside the old ones.
async fn rotate(cloud: &Cloud, console: Console, options: &TokenRotate) -> Done {
    let stack = cloud.describe().await?;
    let way = options.way;
    let present = digests(&stack, way);
    if present.len() > 1 {
        return Err(Error::Refused(format!(
            "{} has {} digests: another rotation is under way. `--finish` ends it, and keeps the token that you give it",
            way.parameter(),
            present.len()
        )));
    }
    let is_first = present.is_empty();
    let token = make()?;
    let new = digest(&token);
    // Before anything is changed: a token that nobody has seen must never be one that the stack takes.
    console.say(format!("The new token, to be kept where you keep passwords:\n  {}", styled(BOLD, &token)));
    let all: Vec<&str> = present.into_iter().chain([new.as_str()]).collect();
    let values = BTreeMap::from([(way.parameter().to_owned(), all.join(","))]);
    parameters::change(cloud, console, &stack, &values, &options.consent).await?;
    if way == Way::Vero {
        accepted(cloud, &stack, &token).await?;
    }
    console.show(&json!({"token": token, "digest": new}), || {
        let beside = if is_first { "" } else { ", and the old one as well" };
        console.say(format!("The stack takes the new token{beside}. Then:"));
        console.say(format!("1. {}", way.advice(&stack, &token)));
        if !is_first {
            console.say("2. Wait a day, so that nothing comes with the old one any more.");
            console.say("3. Run the same command with --finish.");
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the way in opens, by a check that takes the way of every webhook.
async fn accepted(cloud: &Cloud, stack: &Stack, token: &str) -> Result<(), Error> {
    let webhook = json!({"type": "relay_check", "user": {"id": "vero-relay-check"}}).to_string();
    let answer = cloud.post(stack, token, webhook.into_bytes()).await?;
    if answer.status == 202 {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the stack answers {} to the new token: do not change the URL in Vero; `relay doctor` may say why",
        answer.status
    )))
}

/// The second step: one token alone. It has to be given, and to be accepted, so that no token is left that nobody has.
async fn finish(cloud: &Cloud, console: Console, options: &TokenRotate) -> Done {
    let stack = cloud.describe().await?;
    let way = options.way;
    let present = digests(&stack, way);
    if present.len() < 2 {
        console.show(&json!({"digest": present.first()}), || {
            console.say("There is one token at most: nothing is to be done.");
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let environment = relay_platform::environment::Environment::of_process();
    let given = environment.get(VARIABLE).map(str::to_owned);
    let is_given = given.is_some();
    let token = match given {
        Some(token) => token,
        None => console.secret("The token that is to stay")?,
    };
    let kept = digest(&token);
    if !present.iter().any(|digest| digest.eq_ignore_ascii_case(&kept)) {
        return Err(Error::Refused(
            "the stack does not take this token, and so nothing was changed".to_owned(),
        ));
    }
    // Digests are in the order in which they were added.
    if present.last().is_some_and(|last| !last.eq_ignore_ascii_case(&kept)) {
        if is_given {
            return Err(Error::Refused(format!(
                "{VARIABLE} has an older token than the one that was added last, and so nothing was changed. To keep the older one, unset {VARIABLE} and give it when you are asked"
            )));
        }
        console.say("This is not the token that was added last: that one is refused from then on.");
    }
    if way == Way::Vero {
        accepted(cloud, &stack, &token).await?;
    }
    console
        .say("From then on the stack refuses every other token. What still comes with another one is lost.");
    let values = BTreeMap::from([(way.parameter().to_owned(), kept.clone())]);
    parameters::change(cloud, console, &stack, &values, &options.consent).await?;
    console.show(&json!({"digest": kept}), || console.say("The stack takes this token alone."))?;
    Ok(ExitCode::SUCCESS)
}

/// The token that webhooks come with: that of `cargo local`, of the environment, or asked for.
pub(super) fn present(cloud: &Cloud, console: Console) -> Result<String, Error> {
    if let Some(local) = &cloud.local {
        return Ok(local.token.clone());
    }
    asked_for(console, "Token of the URL for webhooks")
}

fn asked_for(console: Console, prompt: &str) -> Result<String, Error> {
    let environment = relay_platform::environment::Environment::of_process();
    match environment.get(VARIABLE) {
        Some(token) => Ok(token.to_owned()),
        None => console.secret(prompt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_random_and_fit_for_a_url() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert!(one != other && one.len() == 43);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{one}");
        assert_eq!(digest("test"), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    }
}
