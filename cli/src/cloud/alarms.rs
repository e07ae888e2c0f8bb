//! CloudWatch's alarms, and SNS: who hears of them.

use aws_sdk_sns::Client;

use super::Cloud;
use crate::error::Error;
use crate::model::state::{Alarm, Stack, Subscriber};
use crate::model::time::At;

impl Cloud {
    /// The stack's alarms, by their names in the template. One that somebody has deleted is missing.
    ///
    /// # Errors
    /// If CloudWatch does not answer.
    pub async fn alarms(&self, stack: &Stack) -> Result<Vec<Alarm>, Error> {
        let client = self.cloudwatch();
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            // Stacks whose names begin alike share the prefix, so that there may be many.
            let call = client.describe_alarms().alarm_name_prefix(format!("{}-", self.stack));
            let page = call.set_next_token(token.take()).send().await;
            let page = page.map_err(Error::aws("CloudWatch DescribeAlarms"))?;
            found.extend(page.metric_alarms.unwrap_or_default());
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        let mut alarms: Vec<Alarm> = found
            .iter()
            .filter_map(|alarm| {
                let own = alarm.alarm_name()?;
                let (name, _) = stack.resources.iter().find(|(_, physical)| *physical == own)?;
                Some(Alarm {
                    name: name.clone(),
                    state: alarm.state_value().map(|state| state.as_str().to_owned()).unwrap_or_default(),
                    since: alarm
                        .state_updated_timestamp()
                        .and_then(|at| at.to_millis().ok())
                        .map(At::from_ms),
                    actions_enabled: alarm.actions_enabled().unwrap_or(true)
                        && !alarm.alarm_actions().is_empty(),
                })
            })
            .collect();
        alarms.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(alarms)
    }

    /// Who has subscribed to a topic.
    ///
    /// # Errors
    /// If SNS does not answer.
    pub async fn subscribers(&self, topic_arn: &str) -> Result<Vec<Subscriber>, Error> {
        let call = Client::new(&self.config).list_subscriptions_by_topic().topic_arn(topic_arn).send().await;
        let answer = call.map_err(Error::aws("SNS ListSubscriptionsByTopic"))?;
        let present = answer.subscriptions().iter();
        let present = present.filter(|subscription| subscription.subscription_arn() != Some("Deleted"));
        let subscribers = present.map(|subscription| Subscriber {
            protocol: subscription.protocol().unwrap_or_default().to_owned(),
            is_confirmed: subscription.subscription_arn().is_some_and(|arn| arn.starts_with("arn:")),
        });
        Ok(subscribers.collect())
    }
}
