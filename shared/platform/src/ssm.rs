//! GetParameters, the one call to SSM that is made here, by the SDK's runtime: signing, time-outs and second tries are
//! the SDK's. Its client for SSM links every error of that service, which was a fifth of `ingest`.

use std::collections::HashSet;

use aws_config_types::region::SigningRegion;
use aws_config_types::{SdkConfig, SigningName};
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::{ServiceClockSkewClassifier, ServiceClockSkewInterceptor};
use aws_sdk_sqs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_sqs::error::{BoxError, ErrorMetadata, SdkError};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::{
    HttpRequest, HttpResponse, OrchestratorError, SensitiveOutput,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::known;

/// A parameter as SSM hands it out (API reference, Parameter).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Parameter {
    /// Its name, without a version or label that was asked for.
    pub(crate) name: String,
    /// Its value, decrypted.
    pub(crate) value: SecretString,
    /// `:` and the version or label that was asked for.
    pub(crate) selector: Option<String>,
    #[serde(rename = "ARN")]
    pub(crate) arn: Option<String>,
}

impl Parameter {
    /// All names by which it can have been asked for: asked for by an ARN or with a version or label behind a colon, SSM
    /// answers with the bare name.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let bare = [Some(&self.name), self.arn.as_ref()].into_iter().flatten();
        let selector = self.selector.as_deref();
        bare.flat_map(move |name| [Some(name.clone()), selector.map(|selector| format!("{name}{selector}"))])
            .flatten()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default)]
    invalid_parameters: Vec<String>,
}

impl Answer {
    /// Whether it says of each what its value is, or that there is none: else what is missing may exist.
    fn speaks_of(&self, names: &[String]) -> bool {
        let told: HashSet<String> = self
            .parameters
            .iter()
            .flat_map(Parameter::names)
            .chain(self.invalid_parameters.iter().cloned())
            .collect();
        names.iter().all(|name| told.contains(name))
    }
}

/// The decrypted values of up to ten parameters; those that do not exist are missing. `elsewhere` is the URL of an SSM
/// that is not AWS's.
///
/// # Errors
/// SSM's code, such as `AccessDeniedException`, or in words what kept it from answering.
pub(crate) async fn get_parameters(
    config: &SdkConfig,
    elsewhere: Option<&str>,
    names: Vec<String>,
) -> Result<Vec<Parameter>, String> {
    let endpoint = match elsewhere {
        Some(url) => url.to_owned(),
        None => endpoint(config).await.map_err(|error| error.to_string())?,
    };
    let answer = operation(config, &endpoint, names.clone()).invoke(names).await;
    answer.map(|answer| answer.parameters).map_err(|error| explain(&error).to_owned())
}

fn operation(
    config: &SdkConfig,
    endpoint: &str,
    names: Vec<String>,
) -> Operation<Vec<String>, Answer, ErrorMetadata> {
    let mut layer = Layer::new("ssm");
    if let (Some(retries), Some(timeouts)) = (config.retry_config(), config.timeout_config()) {
        layer.store_put(retries.clone());
        layer.store_put(timeouts.clone());
    }
    layer.store_put(SensitiveOutput);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: config.region().cloned().map(SigningRegion::from),
        name: Some(SigningName::from_static("ssm")),
        ..Default::default()
    });
    let mut components = RuntimeComponentsBuilder::new("ssm")
        .with_http_client(config.http_client())
        .with_sleep_impl(config.sleep_impl())
        .with_interceptor(ServiceClockSkewInterceptor::new())
        .with_retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .with_retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .with_retry_classifier(ServiceClockSkewClassifier::<ErrorMetadata>::new())
        .with_retry_classifier(HttpStatusCodeClassifier::default())
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])));
    if let Some(credentials) = config.credentials_provider() {
        components.set_identity_resolver(SCHEME_ID, credentials);
    }
    Operation::builder()
        .service_name("SSM")
        .operation_name("GetParameters")
        .endpoint_url(endpoint)
        .runtime_plugin(
            StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components),
        )
        .serializer(request)
        .deserializer(move |response| answer(response, &names))
        .build()
}

fn request(names: Vec<String>) -> Result<HttpRequest, BoxError> {
    let body = json!({"Names": names, "WithDecryption": true}).to_string();
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST")?;
    request.headers_mut().insert("content-type", "application/x-amz-json-1.1");
    request.headers_mut().insert("x-amz-target", "AmazonSSM.GetParameters");
    Ok(request)
}

fn answer(response: &HttpResponse, names: &[String]) -> Result<Answer, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        // Tried again as one that broke off.
        let unread = |error: BoxError| OrchestratorError::response(error);
        let answer: Answer = serde_json::from_slice(body).map_err(|error| unread(error.into()))?;
        return match answer.speaks_of(names) {
            true => Ok(answer),
            false => Err(unread("it does not speak of every parameter".into())),
        };
    }
    // Smithy, "AWS JSON 1.1 protocol", operation error serialization: the code stands in one of three places, maybe
    // with its namespace before it and an address behind.
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let header = response.headers().get("x-amzn-errortype");
    let code = header.or_else(|| error["code"].as_str()).or_else(|| error["__type"].as_str());
    let code = code.and_then(|code| code.split(':').next()?.rsplit('#').next());
    let code = code.map_or_else(|| response.status().to_string(), str::to_owned);
    Err(OrchestratorError::operation(ErrorMetadata::builder().code(code).build()))
}

/// What the operator is told.
fn explain(error: &SdkError<ErrorMetadata, HttpResponse>) -> &str {
    match error {
        SdkError::ServiceError(refused) => match refused.err().code() {
            // The status, for want of a code.
            Some(status) if status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) => status,
            code => code.map_or("refused", known::aws_code),
        },
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::ResponseError(_) => "an incomplete answer",
        SdkError::ConstructionFailure(_) => "the call could not be made",
        _ => "no answer",
    }
}

/// Where SSM is: by AWS's rules for SQS, which differ from those for SSM by the name alone.
async fn endpoint(config: &SdkConfig) -> Result<String, BoxError> {
    let params = Params::builder()
        .set_region(config.region().map(ToString::to_string))
        .set_use_fips(config.use_fips())
        .set_use_dual_stack(config.use_dual_stack())
        .build()?;
    let sqs = DefaultResolver::new().resolve_endpoint(&params).await?;
    Ok(sqs.url().replacen("sqs", "ssm", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_config_types::region::Region;
    use secrecy::ExposeSecret;

    #[tokio::test]
    async fn ssm_is_where_aws_says() {
        for (region, fips, dual_stack, url) in [
            ("eu-west-1", false, false, "https://ssm.eu-west-1.amazonaws.com"),
            ("us-east-2", true, false, "https://ssm-fips.us-east-2.amazonaws.com"),
            ("ca-central-1", true, true, "https://ssm-fips.ca-central-1.api.aws"),
            ("us-gov-west-1", true, false, "https://ssm.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, false, "https://ssm.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", false, false, "https://ssm.eusc-de-east-1.amazonaws.eu"),
        ] {
            let config = SdkConfig::builder().region(Region::new(region)).use_fips(fips);
            let config = config.use_dual_stack(dual_stack).build();
            assert_eq!(endpoint(&config).await.unwrap(), url);
        }
        assert!(endpoint(&SdkConfig::builder().build()).await.is_err());
    }

    #[test]
    fn answers_are_read() {
        let read_for = |names: &[&str], status: u16, body: &'static str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            answer(&HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)), &names)
        };
        let read = |status, body| read_for(&["/a:2", "/b"], status, body);
        let parameters = r#"{"InvalidParameters":[],"Parameters":[{"ARN":"arn:aws:ssm:eu-west-1:1:parameter/a",
            "Name":"/a","Selector":":2","Type":"SecureString","Value":"s","Version":2},{"Name":"/b","Value":"t"}]}"#;
        let [a, b] = read(200, parameters).unwrap().parameters.try_into().unwrap();
        assert_eq!(
            (a.name.as_str(), a.value.expose_secret(), a.selector.as_deref()),
            ("/a", "s", Some(":2"))
        );
        assert_eq!((a.arn.as_deref(), b.arn), (Some("arn:aws:ssm:eu-west-1:1:parameter/a"), None));
        let arn = "arn:aws:ssm:eu-west-1:1:parameter/a";
        assert!(read_for(&[arn, "/a", "/b"], 200, parameters).is_ok());
        assert!(read_for(&["/c"], 200, r#"{"InvalidParameters":["/c"]}"#).is_ok());
        // What is not spoken of may be there all the same.
        for body in
            ["{", "", "{}", r#"{"Parameters":[{"Name":"/b","Value":"t"}],"InvalidParameters":["/c"]}"#]
        {
            assert!(read(200, body).is_err_and(|error| error.is_response_error()), "{body}");
        }
        for (status, body, code) in [
            (400, r#"{"__type":"com.amazonaws.ssm#InvalidKeyId","message":"x"}"#, "InvalidKeyId"),
            (
                400,
                r#"{"__type":"ThrottlingException:http://internal.amazon.com/coral/"}"#,
                "ThrottlingException",
            ),
            (400, r#"{"code":"a.b#AccessDeniedException","__type":"c"}"#, "AccessDeniedException"),
            (503, "<html>", "503"),
        ] {
            let error = read(status, body).unwrap_err();
            assert_eq!(error.as_operation_error().and_then(ErrorMetadata::code), Some(code));
        }
    }
}
