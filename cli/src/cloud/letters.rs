//! SQS: the dead-letter queue. A letter that is received is hidden from everybody else for a while, and no letter is
//! deleted before the queue that it goes to has it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    SendMessageBatchRequestEntry,
};
use tokio::time::{Instant, sleep};

use super::Cloud;
use crate::error::Error;
use crate::model::letter::Letter;
use crate::model::time::At;

/// The most messages of a batch (SQS developer guide, "Message quotas").
const BATCH: usize = 10;
/// The most bytes of a batch, with room for attributes. SQS takes 1 MiB.
const BATCH_BYTES: usize = 900_000;
/// How long letters are hidden that are only looked at, in seconds.
const LOOK: i32 = 10;
/// How long letters are hidden that may be moved or deleted, in seconds.
const WORK: i32 = 60;

/// After so many batches of letters that were seen before, there are no others.
const RETURNED: usize = 300;

/// What was seen of the dead-letter queue.
#[derive(Debug)]
pub struct Look {
    /// In the order of receipt.
    pub letters: Vec<Letter>,
    /// How many there are, by SQS's own count, which may be a minute old.
    pub total: usize,
    /// None was missed, by that count.
    pub is_complete: bool,
}

/// A letter that is hidden from others until it is moved, deleted or released.
#[derive(Debug, Clone)]
pub struct Received {
    /// What it says.
    pub letter: Letter,
    receipt: String,
    body: String,
    attributes: HashMap<String, MessageAttributeValue>,
}

impl Cloud {
    /// Looks at letters, at most `limit`. Needs the right to receive, and changes nothing but that they are hidden
    /// meanwhile: for ten seconds, if the caller may not show them again.
    ///
    /// # Errors
    /// If SQS does not answer.
    pub async fn look_at_letters(&self, url: &str, limit: usize) -> Result<Look, Error> {
        let total = self.queue(url).await?.messages() as usize;
        let mut letters: HashMap<String, Received> = HashMap::new();
        // Somebody else's look may hide some of them.
        let timeout = Duration::from_secs(LOOK as u64 + 5);
        let mut deadline = Instant::now() + timeout;
        while letters.len() < total.min(limit) && Instant::now() < deadline {
            let batch = self.receive(url, LOOK).await?;
            if batch.is_empty() {
                sleep(Duration::from_millis(200)).await;
            }
            for one in batch {
                if letters.insert(one.letter.message_id.clone(), one).is_none() {
                    deadline = Instant::now() + timeout;
                }
            }
        }
        let is_complete = letters.len() >= total;
        let letters: Vec<Received> = letters.into_values().collect();
        // Without the right to do so, or too late, they are shown by themselves.
        let _ = self.release(url, &letters).await;
        let mut letters: Vec<Letter> = letters.into_iter().map(|one| one.letter).collect();
        letters.sort_by(|a, b| (a.received_at, a.name()).cmp(&(b.received_at, b.name())));
        letters.truncate(limit);
        Ok(Look { letters, total, is_complete })
    }

    /// Goes through the queue once: each letter is given to `take`, a batch at a time, and those that it gives back are
    /// shown to others again. Gives how many letters it has not met, by SQS's own count.
    ///
    /// # Errors
    /// If SQS does not answer, or `take` fails. Then letters that nobody has moved are shown again after a minute.
    pub async fn go_through_letters(
        &self,
        url: &str,
        mut take: impl AsyncFnMut(Vec<Received>) -> Result<Vec<Received>, Error>,
    ) -> Result<usize, Error> {
        self.wait_for_hidden(url).await?;
        let total = self.queue(url).await?.messages() as usize;
        let (mut seen, mut kept) = (HashSet::new(), HashMap::new());
        let (mut empty, mut old) = (0, 0);
        // An empty answer may be of a few of SQS's servers only. What was seen comes back after a minute, so that a long
        // way through the queue meets it again.
        while empty < 3 && old < RETURNED {
            let batch = self.receive(url, WORK).await?;
            empty = if batch.is_empty() { empty + 1 } else { 0 };
            let (new, again): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|one| seen.insert(one.letter.message_id.clone()));
            kept.extend(again.into_iter().map(|one| (one.letter.message_id.clone(), one)));
            old = if new.is_empty() { old + 1 } else { 0 };
            if !new.is_empty() {
                kept.extend(take(new).await?.into_iter().map(|one| (one.letter.message_id.clone(), one)));
            }
        }
        self.release(url, &kept.into_values().collect::<Vec<_>>()).await?;
        Ok(total.saturating_sub(seen.len()))
    }

    async fn wait_for_hidden(&self, url: &str) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(LOOK as u64 + 2);
        while self.queue(url).await?.in_flight > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    async fn receive(&self, url: &str, hidden_s: i32) -> Result<Vec<Received>, Error> {
        let call = self
            .sqs()
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(BATCH as i32)
            .visibility_timeout(hidden_s)
            // A long poll asks all of SQS's servers.
            .wait_time_seconds(i32::from(self.local.is_none()))
            .message_attribute_names("All");
        let answer = call.send().await.map_err(Error::aws("SQS ReceiveMessage"))?;
        let messages = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let attributes = message.message_attributes.unwrap_or_default();
            let body = message.body?;
            let reason = attributes.get("reason").and_then(|reason| reason.string_value());
            let letter = Letter::read(&message.message_id?, &body, reason);
            Some(Received { letter, receipt: message.receipt_handle?, body, attributes })
        });
        Ok(messages.collect())
    }

    /// Puts letters on a queue, and then deletes them. Gives those that the queue did not take.
    ///
    /// # Errors
    /// If SQS does not answer. If it had taken a letter that is not deleted, the letter is moved again next time.
    pub async fn move_letters(
        &self,
        from: &str,
        to: &str,
        letters: Vec<Received>,
    ) -> Result<Vec<Received>, Error> {
        let mut left = Vec::new();
        for batch in packed(letters) {
            let entries = batch.iter().enumerate().map(|(place, one)| {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(place.to_string())
                    .message_body(&one.body)
                    .set_message_attributes(Some(one.attributes.clone()).filter(|all| !all.is_empty()));
                entry.build().unwrap_or_else(|_| unreachable!("an id and a body are all that it needs"))
            });
            let call = self.sqs().send_message_batch().queue_url(to).set_entries(Some(entries.collect()));
            let answer = call.send().await.map_err(Error::aws("SQS SendMessageBatch"))?;
            let sent: HashSet<&str> = answer.successful().iter().map(|entry| entry.id()).collect();
            let (moved, refused): (Vec<_>, Vec<_>) =
                batch.into_iter().enumerate().partition(|(place, _)| sent.contains(&*place.to_string()));
            let moved: Vec<Received> = moved.into_iter().map(|(_, one)| one).collect();
            self.delete_letters(from, &moved).await?;
            left.extend(refused.into_iter().map(|(_, one)| one));
        }
        Ok(left)
    }

    /// Deletes letters for good.
    ///
    /// # Errors
    /// If SQS does not delete one of them.
    pub async fn delete_letters(&self, url: &str, letters: &[Received]) -> Result<(), Error> {
        for batch in letters.chunks(BATCH) {
            let entries = batch.iter().enumerate().map(|(place, one)| {
                let entry = DeleteMessageBatchRequestEntry::builder();
                let entry = entry.id(place.to_string()).receipt_handle(&one.receipt).build();
                entry.unwrap_or_else(|_| unreachable!("an id and a receipt are all that it needs"))
            });
            let call = self.sqs().delete_message_batch().queue_url(url).set_entries(Some(entries.collect()));
            let answer = call.send().await.map_err(Error::aws("SQS DeleteMessageBatch"))?;
            if let Some(failed) = answer.failed().first() {
                return Err(Error::Refused(format!(
                    "SQS did not delete {} letters ({}): they are shown again after a minute",
                    answer.failed().len(),
                    failed.code()
                )));
            }
        }
        Ok(())
    }

    /// Shows letters to others again. Those that cannot be shown now are shown after a minute.
    async fn release(&self, url: &str, letters: &[Received]) -> Result<(), Error> {
        for batch in letters.chunks(BATCH) {
            let entries = batch.iter().enumerate().map(|(place, one)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder();
                let entry = entry.id(place.to_string()).receipt_handle(&one.receipt).visibility_timeout(0);
                entry.build().unwrap_or_else(|_| unreachable!("an id and a receipt are all that it needs"))
            });
            let call = self
                .sqs()
                .change_message_visibility_batch()
                .queue_url(url)
                .set_entries(Some(entries.collect()));
            call.send().await.map_err(Error::aws("SQS ChangeMessageVisibilityBatch"))?;
        }
        Ok(())
    }

    /// Has SQS move all letters by itself; `None` if this SQS cannot.
    ///
    /// # Errors
    /// If SQS refuses, for example because it is at it already.
    pub async fn start_move(&self, from_arn: &str, to_arn: &str) -> Result<Option<String>, Error> {
        let call =
            self.sqs().start_message_move_task().source_arn(from_arn).destination_arn(to_arn).send().await;
        match call.map_err(Error::aws("SQS StartMessageMoveTask")) {
            Ok(task) => Ok(task.task_handle().map(str::to_owned)),
            Err(_) if self.local.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How far SQS is with the move that was started last: its status, how many letters it has moved, and why it stopped.
    ///
    /// # Errors
    /// If SQS does not answer.
    pub async fn move_progress(&self, from_arn: &str) -> Result<MoveProgress, Error> {
        let call = self.sqs().list_message_move_tasks().source_arn(from_arn).max_results(10).send().await;
        let answer = call.map_err(Error::aws("SQS ListMessageMoveTasks"))?;
        let task = answer.results().iter().max_by_key(|task| task.started_timestamp());
        Ok(MoveProgress {
            status: task.and_then(|task| task.status()).unwrap_or("unknown").to_owned(),
            moved: task.map_or(0, |task| task.approximate_number_of_messages_moved()).max(0) as u64,
            started: task.map(|task| At::from_ms(task.started_timestamp())),
            failure: task.and_then(|task| task.failure_reason()).map(str::to_owned),
        })
    }
}

/// How far SQS is with a move.
#[derive(Debug)]
pub struct MoveProgress {
    /// SQS's word: `RUNNING`, `COMPLETED` or another.
    pub status: String,
    /// How many letters it has moved.
    pub moved: u64,
    /// When it began.
    pub started: Option<At>,
    /// Why it stopped.
    pub failure: Option<String>,
}

/// Batches as large as SQS takes them.
fn packed(letters: Vec<Received>) -> Vec<Vec<Received>> {
    let mut batches: Vec<Vec<Received>> = Vec::new();
    let mut bytes = 0;
    for one in letters {
        bytes += one.body.len();
        match batches.last_mut().filter(|batch| batch.len() < BATCH && bytes <= BATCH_BYTES) {
            Some(batch) => batch.push(one),
            None => {
                bytes = one.body.len();
                batches.push(vec![one]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_ten_letters_and_less_than_a_mebibyte() {
        let letter = |bytes: usize| Received {
            letter: Letter::read("m", "", None),
            receipt: String::new(),
            body: "x".repeat(bytes),
            attributes: HashMap::new(),
        };
        let sizes = |letters: Vec<Received>| packed(letters).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![letter(10); 25]), [10, 10, 5]);
        assert_eq!(sizes(vec![letter(260_000); 7]), [3, 3, 1]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }
}
