//! Lambda: the functions, what feeds the worker, the Function URL, the account's limits.

use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use serde_json::Value;

use super::{CONNECT, Cloud};
use crate::error::Error;
use crate::model::state::{Account, EventSource, Function, FunctionUrl};

impl Cloud {
    fn lambda(&self) -> Client {
        Client::new(&self.config)
    }

    /// A function's settings.
    ///
    /// # Errors
    /// If Lambda does not answer.
    pub async fn function(&self, name: &str) -> Result<Function, Error> {
        let client = self.lambda();
        let (configuration, concurrency, recursion) = tokio::join!(
            client.get_function_configuration().function_name(name).send(),
            client.get_function_concurrency().function_name(name).send(),
            client.get_function_recursion_config().function_name(name).send(),
        );
        let configuration = configuration.map_err(Error::aws("Lambda GetFunctionConfiguration"))?;
        let concurrency = concurrency.map_err(Error::aws("Lambda GetFunctionConcurrency"))?;
        let reserved = concurrency.reserved_concurrent_executions();
        // The stand-in of `cargo local` leaves this setting out of what it creates.
        let recursion = recursion.ok().filter(|_| self.local.is_none());
        let recursion = recursion.and_then(|answer| Some(answer.recursive_loop()?.as_str() == "Terminate"));
        Ok(Function {
            name: name.to_owned(),
            state: configuration.state().map_or("Active", |state| state.as_str()).to_owned(),
            last_update: configuration
                .last_update_status()
                .map_or("Successful", |status| status.as_str())
                .to_owned(),
            runtime: configuration.runtime().map(|runtime| runtime.as_str().to_owned()).unwrap_or_default(),
            architecture: configuration
                .architectures()
                .first()
                .map(|one| one.as_str().to_owned())
                .unwrap_or_default(),
            timeout_s: configuration.timeout().unwrap_or(0).max(0) as u64,
            reserved: reserved.map(|count| count.max(0) as u64),
            stops_recursion: recursion,
        })
    }

    /// What feeds a function from a queue.
    ///
    /// # Errors
    /// If there is none of this id.
    pub async fn event_source(&self, id: &str) -> Result<EventSource, Error> {
        let call = self.lambda().get_event_source_mapping().uuid(id).send().await;
        let source = call.map_err(Error::aws("Lambda GetEventSourceMapping"))?;
        let limit = source.scaling_config().and_then(|scaling| scaling.maximum_concurrency());
        Ok(EventSource {
            state: source.state().unwrap_or("unknown").to_owned(),
            max_concurrency: limit.map(|count| count.max(0) as u64),
            reports_failures: !source.function_response_types().is_empty(),
        })
    }

    /// Has a queue feed its function again.
    ///
    /// # Errors
    /// If Lambda does not answer.
    pub async fn enable_event_source(&self, id: &str) -> Result<(), Error> {
        let call = self.lambda().update_event_source_mapping().uuid(id).enabled(true).send().await;
        call.map(drop).map_err(Error::aws("Lambda UpdateEventSourceMapping"))
    }

    /// A function's URL, and who may call it.
    ///
    /// # Errors
    /// If it has none.
    pub async fn function_url(&self, name: &str) -> Result<FunctionUrl, Error> {
        let client = self.lambda();
        let (url, policy) = tokio::join!(
            client.get_function_url_config().function_name(name).send(),
            client.get_policy().function_name(name).send(),
        );
        let url = url.map_err(Error::aws("Lambda GetFunctionUrlConfig"))?;
        let policy = match policy.map_err(Error::aws("Lambda GetPolicy")) {
            Err(error) if error.code() == "ResourceNotFoundException" => None,
            policy => policy?.policy().and_then(|policy| serde_json::from_str::<Value>(policy).ok()),
        };
        let statements = policy.as_ref().and_then(|policy| policy["Statement"].as_array());
        let is_public = |statement: &&Value| {
            statement["Effect"] == "Allow"
                && (statement["Principal"] == "*" || statement["Principal"]["AWS"] == "*")
        };
        let actions = statements.into_iter().flatten().filter(is_public);
        let mut actions: Vec<String> =
            actions.filter_map(|statement| statement["Action"].as_str().map(str::to_owned)).collect();
        actions.sort();
        Ok(FunctionUrl { auth_type: url.auth_type().as_str().to_owned(), public_actions: actions })
    }

    /// The account's limits.
    ///
    /// # Errors
    /// If Lambda does not answer.
    pub async fn account(&self) -> Result<Account, Error> {
        let call = self.lambda().get_account_settings().send().await;
        let answer = call.map_err(Error::aws("Lambda GetAccountSettings"))?;
        let limit = answer.account_limit();
        let concurrency = limit.map_or(0, |limit| limit.concurrent_executions());
        let unreserved =
            limit.and_then(|limit| limit.unreserved_concurrent_executions()).unwrap_or(concurrency);
        Ok(Account { concurrency: concurrency.max(0) as u64, unreserved: unreserved.max(0) as u64 })
    }

    /// Invokes a function, and gives its answer. It may take a minute.
    ///
    /// # Errors
    /// If the function could not be invoked, or says why it failed.
    pub async fn invoke(&self, name: &str, event: &Value) -> Result<Value, Error> {
        let timeouts = aws_sdk_lambda::config::timeout::TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(900))
            .operation_timeout(Duration::from_secs(910))
            .build();
        // A second attempt would run it twice; and so would the client's own, over a kept connection that breaks.
        let config = aws_sdk_lambda::config::Builder::from(&self.config)
            .http_client(relay_platform::http::client(CONNECT, Duration::ZERO))
            .timeout_config(timeouts)
            .retry_config(aws_sdk_lambda::config::retry::RetryConfig::disabled());
        let call = Client::from_conf(config.build())
            .invoke()
            .function_name(name)
            .payload(Blob::new(event.to_string()));
        let answer = call.send().await.map_err(Error::aws("Lambda Invoke"))?;
        let payload: Value = answer
            .payload()
            .and_then(|payload| serde_json::from_slice(payload.as_ref()).ok())
            .unwrap_or_default();
        match payload["errorMessage"].as_str() {
            Some(message) => Err(Error::Refused(message.to_owned())),
            None if answer.function_error().is_some() => {
                Err(Error::Refused(format!("{name} failed and does not say why; its log does")))
            }
            None => Ok(payload),
        }
    }

    /// Keeps a function from being invoked, or lets it be invoked again.
    ///
    /// # Errors
    /// If Lambda does not answer.
    pub async fn set_running(&self, name: &str, is_running: bool) -> Result<(), Error> {
        let client = self.lambda();
        if is_running {
            let call = client.delete_function_concurrency().function_name(name).send().await;
            call.map(drop).map_err(Error::aws("Lambda DeleteFunctionConcurrency"))
        } else {
            let call =
                client.put_function_concurrency().function_name(name).reserved_concurrent_executions(0);
            call.send().await.map(drop).map_err(Error::aws("Lambda PutFunctionConcurrency"))
        }
    }
}
