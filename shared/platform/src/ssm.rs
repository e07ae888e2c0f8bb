//! GetParameters by the SDK, and a check that the SDK does not make: whether SSM has spoken of every parameter.

use std::collections::HashSet;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::get_parameters::GetParametersOutput;
use aws_sdk_ssm::types::Parameter;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextMut;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::known;

/// The decrypted values of up to ten parameters; those that do not exist are missing.
///
/// # Errors
/// SSM's code, such as `AccessDeniedException`, or in words what kept it from answering.
pub(crate) async fn get_parameters(client: &Client, names: Vec<String>) -> Result<Vec<Parameter>, String> {
    let call = client.get_parameters().set_names(Some(names.clone())).with_decryption(true);
    let response = call.customize().interceptor(AcknowledgementCheck { names }).send().await;
    let response = response.map_err(|error| explain(&error))?;
    Ok(response.parameters.unwrap_or_default())
}

/// All names by which a parameter can have been asked for: asked for by an ARN or with a version or label behind a colon,
/// SSM answers with the bare name.
pub(crate) fn names(parameter: &Parameter) -> impl Iterator<Item = String> {
    let bare = [parameter.name(), parameter.arn()].into_iter().flatten();
    let selector = parameter.selector();
    bare.flat_map(move |name| [Some(name.to_owned()), selector.map(|selector| format!("{name}{selector}"))])
        .flatten()
}

/// Makes a success that is incomplete a response that broke off, which the SDK tries again.
#[derive(Debug)]
struct AcknowledgementCheck {
    names: Vec<String>,
}

impl Intercept for AcknowledgementCheck {
    fn name(&self) -> &'static str {
        "AcknowledgementCheck"
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_success = context.response().is_some_and(|response| response.status().is_success());
        let Some(output) = context.output_or_error_mut().filter(|_| is_success) else { return Ok(()) };
        let acknowledged = output
            .as_ref()
            .ok()
            .and_then(|output| output.downcast_ref())
            .is_some_and(|output| self.is_met(output));
        if !acknowledged {
            *output = Err(OrchestratorError::response("it does not speak of every parameter".into()));
        }
        Ok(())
    }
}

impl AcknowledgementCheck {
    /// Whether SSM says of each parameter what its value is, or that there is none: else what is missing may exist.
    fn is_met(&self, output: &GetParametersOutput) -> bool {
        let missing = output.invalid_parameters.iter().flatten().cloned();
        let with_value = output.parameters().iter().filter(|parameter| parameter.value.is_some());
        let spoken_of: HashSet<String> = with_value.flat_map(names).chain(missing).collect();
        self.names.iter().all(|name| spoken_of.contains(name))
    }
}

/// What the operator reads. A response without a code is known by its status.
fn explain<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> String {
    let words = match error {
        SdkError::ServiceError(refused) => match refused.err().code() {
            Some(code) => known::aws_code(code),
            None => return refused.raw().status().to_string(),
        },
        SdkError::ResponseError(response) if !response.raw().status().is_success() => {
            return response.raw().status().to_string();
        }
        SdkError::TimeoutError(_) => "no response in time",
        SdkError::ResponseError(_) => "an incomplete response",
        SdkError::ConstructionFailure(_) => "the call could not be made",
        _ => "no response",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use harness::{Behaviour, Receiver, When};

    use crate::aws::{Aws, Timeouts};
    use crate::environment::Environment;

    const ARN: &str = "arn:aws:ssm:eu-west-1:1:parameter/a";
    const TWO: &str = r#"{"InvalidParameters":[],"Parameters":[{"ARN":"arn:aws:ssm:eu-west-1:1:parameter/a",
        "Name":"/a","Selector":":2","Type":"SecureString","Value":"s","Version":2},{"Name":"/b","Value":"t"}]}"#;

    /// What comes of a call to an SSM that answers so, and how often it was called.
    async fn ask(names: &[&str], status: u16, body: &'static str) -> (Result<Vec<Parameter>, String>, usize) {
        let receiver = Receiver::start().await.unwrap();
        receiver.behave(Behaviour::answer(status, body), When::always());
        let environment = Environment::of([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_ENDPOINT_URL_SSM", receiver.url()),
        ]);
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, attempt: second, operation: 5 * second, attempts: 2 };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let answer = Aws::from_environment(&environment, timeouts).get_parameters(names).await;
        assert_eq!(receiver.requests()[0].header("x-amz-target"), Some("AmazonSSM.GetParameters"));
        (answer, receiver.count())
    }

    #[tokio::test]
    async fn parameters_are_known_by_every_name() {
        for names in [&["/a:2", "/b"][..], &["/a"], &[ARN, "/b"], &["arn:aws:ssm:eu-west-1:1:parameter/a:2"]]
        {
            let (answer, calls) = ask(names, 200, TWO).await;
            let values: Vec<_> =
                answer.unwrap().iter().map(|parameter| parameter.value().unwrap().to_owned()).collect();
            assert_eq!((values, calls), (vec!["s".to_owned(), "t".to_owned()], 1), "{names:?}");
        }
        let (answer, calls) = ask(&["/c"], 200, r#"{"InvalidParameters":["/c"]}"#).await;
        assert_eq!((answer, calls), (Ok(vec![]), 1));
    }

    #[tokio::test]
    async fn what_is_not_spoken_of_may_be_there_all_the_same() {
        for body in [
            "{",
            "",
            "{}",
            "<html>",
            r#"{"Parameters":[{"Name":"/b","Value":"t"}],"InvalidParameters":["/c"]}"#,
        ] {
            let (answer, calls) = ask(&["/a:2", "/b"], 200, body).await;
            assert_eq!((answer, calls), (Err("an incomplete response".to_owned()), 2), "{body}");
        }
    }

    #[tokio::test]
    async fn refusals_are_known_by_their_code() {
        for (status, body, reason, calls) in [
            (400, r#"{"__type":"com.amazonaws.ssm#InvalidKeyId","message":"x"}"#, "InvalidKeyId", 1),
            (
                400,
                r#"{"__type":"ThrottlingException:http://internal.amazon.com/coral/"}"#,
                "ThrottlingException",
                2,
            ),
            (400, r#"{"code":"a.b#AccessDeniedException","__type":"c"}"#, "AccessDeniedException", 1),
            (400, r#"{"__type":"ana@example.org"}"#, "an error code that is not known here", 1),
            (503, "<html>", "503", 2),
            (400, "{}", "400", 1),
        ] {
            let answer = ask(&["/a"], status, body).await;
            assert_eq!(answer, (Err(reason.to_owned()), calls), "{body}");
        }
    }
}
