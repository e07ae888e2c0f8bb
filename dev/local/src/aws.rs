//! The few AWS calls that a deployment takes, as plain HTTP to MiniStack.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use crate::http::{self, Request};

/// MiniStack's own default.
pub(crate) const REGION: &str = "us-east-1";

/// MiniStack, seen as a cloud.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cloud(pub(crate) SocketAddr);

impl Cloud {
    /// A call of a service that speaks JSON: SQS, SSM, CloudWatch and its logs, Firehose, Glue, Athena.
    pub(crate) async fn json(&self, service: &str, target: &str, body: Value) -> Result<Value> {
        let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
        let answer = self.call(service, Method::POST, "/", &headers, body.to_string().into()).await?;
        serde_json::from_slice(&answer).with_context(|| format!("{target} answered no JSON"))
    }

    /// What `additions.py` tells of MiniStack beside what AWS would.
    pub(crate) async fn inspect(&self, path: &str) -> Result<Value> {
        let mut request = Request::default();
        *request.uri_mut() = path.parse()?;
        let credential = format!("AWS4-HMAC-SHA256 Credential=inspector/20260101/{REGION}/sqs/aws4_request");
        let authorization = format!("{credential}, SignedHeaders=host, Signature=0");
        request.headers_mut().insert("authorization", authorization.parse()?);
        let answer = http::send(self.0, request).await?;
        ensure!(answer.status().is_success(), "MiniStack answered {} to {path}", answer.status());
        serde_json::from_slice(answer.body()).with_context(|| format!("{path} answered no JSON"))
    }

    /// Keeps `bytes` under `key` in an S3 bucket; without a key makes the bucket.
    pub(crate) async fn put_s3(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<()> {
        self.call("s3", Method::PUT, &format!("/{bucket}/{key}"), &[], bytes).await.map(drop)
    }

    /// What S3 answers to a GET.
    pub(crate) async fn get_s3(&self, path: &str) -> Result<String> {
        let answer = self.call("s3", Method::GET, path, &[], Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// A call of CloudFormation, which takes a form and answers XML.
    pub(crate) async fn cloudformation(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String> {
        self.query("cloudformation", "2010-05-15", action, parameters).await
    }

    /// A call of a service that takes a form and answers XML: CloudFormation, IAM, SNS.
    pub(crate) async fn query(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", version)
            .extend_pairs(parameters)
            .finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.call(service, Method::POST, "/", &headers, form.into()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// A call of Lambda, whose API is one of paths and methods.
    pub(crate) async fn lambda(&self, method: Method, path: &str, body: Bytes) -> Result<Value> {
        let answer = self.call("lambda", method, path, &[], body).await?;
        serde_json::from_slice(&answer).with_context(|| format!("Lambda answered no JSON to {path}"))
    }

    async fn call(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Bytes> {
        // MiniStack routes by the credential's scope and checks no signature.
        let scope = format!("Credential=test/20260101/{REGION}/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse()?;
        for (name, value) in headers.iter().copied().chain([("authorization", authorization.as_str())]) {
            request
                .headers_mut()
                .insert(hyper::header::HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
        }
        let response = http::send(self.0, request).await?;
        if !response.status().is_success() {
            let text = String::from_utf8_lossy(response.body());
            bail!("{service} answered {} to {path}: {text}", response.status());
        }
        Ok(response.into_body())
    }
}

/// The texts between `<tag>` and `</tag>`: all the XML that CloudFormation's flat answers ask for.
pub(crate) fn tags<'x>(xml: &'x str, tag: &str) -> impl Iterator<Item = &'x str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, after) = after.split_once(&close)?;
        rest = after;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_texts_between_tags() {
        let xml = "<A><K>one</K><V>1</V></A><A><K>two</K><V/></A>";
        assert_eq!(tags(xml, "K").collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(tags(xml, "V").collect::<Vec<_>>(), ["1"]);
        assert_eq!(tags("<K>open", "K").next(), None);
    }
}
