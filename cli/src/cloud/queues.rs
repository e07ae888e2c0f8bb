//! SQS: how full the queues are.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;

use super::Cloud;
use crate::error::Error;
use crate::model::state::Queue;

impl Cloud {
    pub(super) fn sqs(&self) -> Client {
        Client::new(&self.config)
    }

    /// A queue's settings and how many messages it holds.
    ///
    /// # Errors
    /// If SQS does not answer.
    pub async fn queue(&self, url: &str) -> Result<Queue, Error> {
        let call = self.sqs().get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        let answer = call.send().await.map_err(Error::aws("SQS GetQueueAttributes"))?;
        let attributes = answer.attributes().cloned().unwrap_or_default();
        let number = |name: QueueAttributeName| {
            attributes.get(&name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
        };
        let redrive = attributes.get(&QueueAttributeName::RedrivePolicy);
        let redrive = redrive.and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
        let max_receives = redrive.and_then(|policy| {
            let count = &policy["maxReceiveCount"];
            count.as_u64().or_else(|| count.as_str()?.parse().ok())
        });
        Ok(Queue {
            visible: number(QueueAttributeName::ApproximateNumberOfMessages),
            delayed: number(QueueAttributeName::ApproximateNumberOfMessagesDelayed),
            in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            visibility_s: number(QueueAttributeName::VisibilityTimeout),
            retention_s: number(QueueAttributeName::MessageRetentionPeriod),
            max_receives,
        })
    }

    /// Puts a message on a queue.
    ///
    /// # Errors
    /// If SQS does not take it.
    pub async fn enqueue(&self, url: &str, body: &str) -> Result<(), Error> {
        let call = self.sqs().send_message().queue_url(url).message_body(body).send().await;
        call.map(drop).map_err(Error::aws("SQS SendMessage"))
    }

    /// Deletes all messages of a queue.
    ///
    /// # Errors
    /// If SQS does not answer, or purged the queue within the last minute.
    pub async fn purge(&self, url: &str) -> Result<(), Error> {
        let call = self.sqs().purge_queue().queue_url(url).send().await;
        call.map(drop).map_err(Error::aws("SQS PurgeQueue"))
    }
}
