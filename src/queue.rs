//! The client of the content queue: sends batches, and makes the queue if it is missing. [`crate::batch`] encodes them; the host
//! receives them.

use std::time::Duration;

use azure_core::http::headers::HeaderName;
use azure_storage_queue::{
    QueueClient,
    models::{QueueClientPeekMessagesOptions, QueueClientSendMessageOptions, QueueMessage},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    azure::{
        Connection,
        storage::{is_conflict, is_not_found},
    },
    batch::{self, Item},
    clock::parse_http_date,
    config::Config,
};

/// The service hides a message for seven days at most.
const MAX_HIDDEN: Duration = Duration::from_secs(7 * 86_400);

/// The most messages that the service shows at once.
/// <https://learn.microsoft.com/rest/api/storageservices/peek-messages>
const MAX_PEEKED: i32 = 32;

/// The time of an answer, by the service's clock.
const DATE: HeaderName = HeaderName::from_static("date");

/// Seconds that a message lives which is only a trial.
const PROBE_LIFE: i32 = 60;

/// The content queue.
pub struct ContentQueue {
    queue: QueueClient,
}

/// A message that waits on the queue.
#[derive(Debug)]
pub struct WaitingMessage {
    /// The items in it; none if they cannot be read.
    pub items: Vec<Item>,
    /// How long it has been there, by the queue's own clock, to the second.
    pub age: TimeDelta,
}

impl ContentQueue {
    /// # Errors
    /// The settings do not make a client.
    pub fn new(config: &Config, connection: &Connection) -> azure_core::Result<Self> {
        Ok(Self { queue: connection.queue(&config.storage, &config.content_queue)? })
    }

    /// Makes the queue if it is missing.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn ensure(&self) -> azure_core::Result<()> {
        match self.queue.create(None).await {
            Err(error) if !is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends one message, hidden for `delay`, and returns once the queue has acknowledged it. It never expires on the
    /// queue: what it carries ends as stored or lost.
    ///
    /// # Errors
    /// Storage refused or could not be reached; the message may be on the queue all the same.
    pub async fn send(&self, items: &[Item], delay: Duration) -> azure_core::Result<()> {
        // The host decodes base64 (host.json: messageEncoding).
        let text = BASE64_STANDARD.encode(batch::encode(items)?);
        match self.put(&text, delay).await {
            Err(error) if is_not_found(&error) => {
                self.ensure().await?;
                self.put(&text, delay).await
            }
            done => done,
        }
    }

    /// The oldest of the messages that can be seen: those that are hidden, or being worked at, are not among them. The service
    /// gives out a few, about in the order in which they came.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn oldest_waiting(&self) -> azure_core::Result<Option<WaitingMessage>> {
        let options = QueueClientPeekMessagesOptions { number_of_messages: Some(MAX_PEEKED), ..Default::default() };
        let peeked = match self.queue.peek_messages(Some(options)).await {
            Err(error) if is_not_found(&error) => return Ok(None),
            peeked => peeked?,
        };
        let now = peeked.headers().get_optional_str(&DATE).and_then(parse_http_date).unwrap_or_else(Utc::now);
        let oldest = peeked.into_model()?.items.unwrap_or_default().into_iter().min_by_key(|message| message.insertion_time);
        Ok(oldest.and_then(|message| {
            let put = message.insertion_time?;
            let text = BASE64_STANDARD.decode(message.message_text.unwrap_or_default()).unwrap_or_default();
            let items = batch::decode(&String::from_utf8_lossy(&text)).unwrap_or_default();
            Some(WaitingMessage { items, age: now - DateTime::from_timestamp(put.unix_timestamp(), put.nanosecond())? })
        }))
    }

    /// True if the queue is there.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn is_there(&self) -> azure_core::Result<bool> {
        self.queue.exists().await
    }

    /// Puts a message on the queue that nobody gets to see, and takes it back: it is hidden for all of its life but the last
    /// second, and an empty batch, should that second come to pass.
    ///
    /// # Errors
    /// Storage refused or could not be reached. What could not be taken back is gone after a minute.
    pub async fn probe(&self) -> azure_core::Result<()> {
        let text = BASE64_STANDARD.encode(batch::encode(&[])?);
        let options = QueueClientSendMessageOptions {
            message_time_to_live: Some(PROBE_LIFE),
            visibility_timeout: Some(PROBE_LIFE - 1),
            ..Default::default()
        };
        let message = QueueMessage { message_text: Some(text) };
        let sent = self.queue.send_message(message.try_into()?, Some(options)).await?.into_model()?;
        for message in sent.items.unwrap_or_default() {
            if let (Some(id), Some(receipt)) = (message.message_id, message.pop_receipt) {
                self.queue.delete_message(&id, &receipt, None).await?;
            }
        }
        Ok(())
    }

    async fn put(&self, text: &str, delay: Duration) -> azure_core::Result<()> {
        let options = QueueClientSendMessageOptions {
            message_time_to_live: Some(-1),
            visibility_timeout: i32::try_from(delay.min(MAX_HIDDEN).as_secs()).ok().filter(|seconds| *seconds > 0),
            ..Default::default()
        };
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        self.queue.send_message(message.try_into()?, Some(options)).await.map(drop)
    }
}
