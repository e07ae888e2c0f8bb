//! Environment variables, the only configuration there is.

use std::collections::HashMap;
use std::fmt;

/// The process's variables. An empty one counts as unset, and values are trimmed: a secret pasted with its line
/// break is still that secret.
#[derive(Clone)]
pub struct Environment(HashMap<String, String>);

/// An error in the configuration, in words that tell how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}. It must be {}, for example {}", expected.form, expected.example)]
pub struct ConfigError {
    /// The variable's name.
    pub variable: String,
    /// What is wrong with it.
    pub problem: String,
    /// What it must look like.
    pub expected: Expected,
}

/// What a variable must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// In words, to follow "It must be".
    pub form: &'static str,
    /// A value that would do.
    pub example: &'static str,
}

/// All errors of a configuration, in one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> = self.0.iter().map(ConfigError::to_string).collect();
        write!(f, "The configuration is faulty: {}.", errors.join("; "))
    }
}

impl ConfigErrors {
    /// Unwraps a value; an error is noted and gives the type's default, so that all errors are found at once.
    pub fn note<T: Default>(&mut self, result: Result<T, ConfigError>) -> T {
        result.unwrap_or_else(|error| {
            self.0.push(error);
            T::default()
        })
    }
}

/// The form of `QUEUE_URL` and `DEAD_LETTER_QUEUE_URL`.
pub const QUEUE_URL: Expected = Expected {
    form: "the URL of an SQS queue",
    example: "https://sqs.eu-west-1.amazonaws.com/123456789012/vero-relay",
};

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(values not shown: there are secrets among them)")
    }
}

impl Environment {
    /// The variables of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads them")]
    pub fn of_process() -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().trim().to_owned();
        Environment(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect())
    }

    /// Made-up variables, for tests.
    pub fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Environment(variables.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).into())
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable says `true` (or `1`).
    ///
    /// # Errors
    /// A [`ConfigError`] if it says something else than true or false.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        const FLAG: Expected = Expected { form: "true or false", example: "true" };
        self.parsed(name, FLAG, |value| match value.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("is neither true nor false"),
        })
        .map(|flag| flag.unwrap_or(default))
    }

    /// A variable's value, parsed; `None` when it is unset. `parse` tells what is wrong in words that can follow
    /// the variable's name.
    ///
    /// # Errors
    /// A [`ConfigError`] with those words. The value itself is never in it: it may be a secret.
    pub fn parsed<T, E: Into<String>>(
        &self,
        name: &str,
        expected: Expected,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let error = |problem: E| ConfigError { variable: name.to_owned(), problem: problem.into(), expected };
        self.get(name).map(parse).transpose().map_err(error)
    }

    /// The URL of a queue.
    ///
    /// # Errors
    /// A [`ConfigError`] if it is missing or no URL.
    pub fn queue_url(&self, name: &str) -> Result<String, ConfigError> {
        let check = |url: &str| match url.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() && !url.contains(char::is_whitespace) => {
                Ok(url.to_owned())
            }
            _ => Err("is no http or https URL"),
        };
        self.parsed(name, QUEUE_URL, check)?.ok_or_else(|| missing(name, QUEUE_URL))
    }
}

/// The error of a variable that must be set and is not.
pub fn missing(name: &str, expected: Expected) -> ConfigError {
    ConfigError { variable: name.to_owned(), problem: "is missing".to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_variable_form_and_example() {
        let mut errors = ConfigErrors::default();
        let environment =
            Environment::of([("QUEUE_URL", " "), ("DEAD_LETTER_QUEUE_URL", "queue"), ("FLAG", "maybe")]);
        errors.note(environment.queue_url("QUEUE_URL"));
        errors.note(environment.queue_url("DEAD_LETTER_QUEUE_URL"));
        errors.note(environment.flag("FLAG", true));
        assert_eq!(
            errors.to_string(),
            "The configuration is faulty: QUEUE_URL is missing. It must be the URL of an SQS queue, for example \
             https://sqs.eu-west-1.amazonaws.com/123456789012/vero-relay; DEAD_LETTER_QUEUE_URL is no http or https \
             URL. It must be the URL of an SQS queue, for example \
             https://sqs.eu-west-1.amazonaws.com/123456789012/vero-relay; FLAG is neither true nor false. It must be \
             true or false, for example true."
        );
    }

    #[test]
    fn values_are_trimmed_and_empty_ones_unset() {
        let environment = Environment::of([("A", " x\n"), ("B", "\t")]);
        assert_eq!(
            (environment.get("A"), environment.get("B"), environment.get("C")),
            (Some("x"), None, None)
        );
        assert_eq!(environment.flag("B", true), Ok(true));
    }
}
