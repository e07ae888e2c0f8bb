//! What an operator has of the built `worker`. `secrets`: keys and rules that may change at any time. `log`: its lines,
//! metrics and traces, which give nothing away.

mod log;
mod secrets;

use harness::{CANARY, SEGMENT_WRITE_KEY, Testbed, basic};

use crate::setup::{Setup, setup_in};

const SEGMENT: &str = "/relay/segment";
const BLUEPRINT: &str = "/relay/blueprint";

async fn setup() -> Setup {
    setup_with(&[]).await
}

/// A worker whose keys are SSM's; `more` adds variables, and an empty one takes away.
async fn setup_with(more: &[(&str, &str)]) -> Setup {
    let testbed = Testbed::start().await.unwrap();
    testbed.sqs.parameter(SEGMENT, SEGMENT_WRITE_KEY);
    testbed.sqs.parameter(BLUEPRINT, r#"{"events":{"Old Name":{"rename":"First"}}}"#);
    let by_parameter = [("SEGMENT_WRITE_KEY", ""), ("SEGMENT_WRITE_KEY_PARAMETER", SEGMENT)];
    setup_in(testbed, &[&by_parameter, more].concat()).await
}

/// The write key as Basic authentication sends it.
fn credentials() -> String {
    basic(SEGMENT_WRITE_KEY).replace("Basic ", "")
}

impl Setup {
    fn no_secret_in_the_log(&self) {
        let log = self.worker.logs().concat();
        assert!(!log.contains(CANARY) && !log.contains(&credentials()), "{log}");
    }
}
