//! The queue listener: receives messages, has them invoked in parallel, and deletes, postpones or poisons them.
//! <https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/storage/Microsoft.Azure.WebJobs.Extensions.Storage.Queues>

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use azure_core::http::StatusCode;
use azure_core::http::headers::HeaderName;
use azure_storage_queue::QueueClient;
use azure_storage_queue::models::{QueueClientReceiveMessagesOptions, ReceivedMessage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::app::{Encoding, Queues};
use super::payload::{HostMessage, System, queue_payload};
use super::{Core, Invocation};
use crate::azurite::Storage;

/// For how long a received message is hidden from others; renewed at half of it. Fixed in the host.
const LEASE: Duration = Duration::from_secs(600);
/// The first wait of an idle listener, and the last: the host goes on to `maxPollingInterval`, but here a person waits.
const IDLE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// So many failed polls in a row are an error.
const MAX_FAILED_POLLS: u32 = 20;

/// When the listener is to stop. It always finishes what it has begun, and stops at once when the handler is lost for good.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueUntil {
    /// After this time; `None`: no matter how long.
    pub deadline: Option<Duration>,
    /// After so many deliveries; `None`: no matter how many.
    pub messages: Option<u64>,
}

impl QueueUntil {
    /// Until the queue holds no message, neither visible nor invisible.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Or until this time is over.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Or until so many messages were delivered.
    #[must_use]
    pub fn messages(self, messages: u64) -> Self {
        Self { messages: Some(messages), ..self }
    }
}

/// What the listener did.
#[derive(Clone, Debug, Default)]
pub struct QueueSummary {
    /// In the order in which they ended.
    pub invocations: Vec<Invocation>,
    /// Messages that went to the poison queue.
    pub poisoned: u64,
    /// Whether the queue was empty at the end.
    pub is_empty: bool,
    /// From the first poll to the end.
    pub duration: Duration,
}

impl QueueSummary {
    /// Invocations that succeeded.
    pub fn succeeded(&self) -> usize {
        self.invocations.iter().filter(|invocation| invocation.outcome.is_success()).count()
    }

    /// Invocations that failed or timed out.
    pub fn failed(&self) -> usize {
        self.invocations.len() - self.succeeded()
    }
}

/// A queue with the function that it triggers.
pub(super) struct Listener {
    pub(super) core: Arc<Core>,
    pub(super) storage: Storage,
    pub(super) function: String,
    pub(super) binding: String,
    pub(super) queue: String,
}

impl Listener {
    pub(super) async fn run(self, until: QueueUntil) -> Result<QueueSummary> {
        let queue = Arc::new(self.storage.queue(&self.queue)?);
        let listener = Arc::new(self);
        let start = Instant::now();
        let mut work = JoinSet::new();
        let mut summary = QueueSummary::default();
        let (mut started, mut idle, mut failed_polls) = (0, IDLE.0, 0);
        loop {
            while let Some(done) = work.try_join_next() {
                summary.add(done?);
            }
            let over = until.deadline.is_some_and(|deadline| start.elapsed() >= deadline)
                || until.messages.is_some_and(|messages| started >= messages)
                || listener.core.is_down();
            if over {
                break;
            }
            if work.len() > listener.queues().new_batch_threshold() as usize {
                summary.add(work.join_next().await.context("no work")??);
                continue;
            }
            let left = until.messages.map_or(u64::MAX, |messages| messages - started);
            let received = match listener.receive(&queue, left).await {
                Ok(received) => received,
                // As the real one, it lives on while the queue cannot be reached, but not for ever.
                Err(error) if failed_polls >= MAX_FAILED_POLLS => {
                    return Err(error.context("poll the queue"));
                }
                Err(_) => {
                    failed_polls += 1;
                    sleep(IDLE.1).await;
                    continue;
                }
            };
            failed_polls = 0;
            if !received.is_empty() {
                idle = IDLE.0;
                started += received.len() as u64;
                for message in received {
                    work.spawn(listener.clone().process(queue.clone(), message));
                }
                continue;
            }
            if work.is_empty() && listener.storage.message_count(&listener.queue).await.is_ok_and(|count| count == 0) {
                summary.is_empty = true;
                break;
            }
            sleep(idle).await;
            idle = (idle * 2).min(IDLE.1);
        }
        while let Some(done) = work.join_next().await {
            summary.add(done?);
        }
        summary.duration = start.elapsed();
        Ok(summary)
    }

    fn queues(&self) -> &Queues {
        &self.core.launch.app.queues
    }

    /// A missing queue is an empty one: the listener does not make it.
    async fn receive(&self, queue: &QueueClient, most: u64) -> Result<Vec<ReceivedMessage>> {
        let count = u64::from(self.queues().batch_size).min(most);
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: i32::try_from(count).ok(),
            visibility_timeout: Some(seconds(self.core.lease.unwrap_or(LEASE)).max(1)),
            ..Default::default()
        };
        match queue.receive_messages(Some(options)).await {
            Ok(received) => Ok(received.into_model()?.items.unwrap_or_default()),
            Err(error) if error.http_status() == Some(StatusCode::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    async fn process(self: Arc<Self>, queue: Arc<QueueClient>, received: ReceivedMessage) -> Processed {
        let mut lease = Lease {
            queue,
            id: received.message_id.clone().unwrap_or_default(),
            receipt: received.pop_receipt.clone().unwrap_or_default(),
            length: self.core.lease.unwrap_or(LEASE),
        };
        let text = received.message_text.clone().unwrap_or_default();
        let count = received.dequeue_count.unwrap_or(1);
        let message = self.decode(&text).map(|text| known(text, &received));
        let Some(message) = message.filter(|_| count <= self.queues().max_dequeue_count) else {
            return Processed { invocation: None, poisoned: self.poison(lease, text).await };
        };
        let payload = queue_payload(&self.binding, &message, &System::new(&self.function));
        let invocation = lease.held(self.core.invoke(&self.function, payload)).await;
        let poisoned = if invocation.outcome.is_success() {
            lease.delete().await;
            false
        } else if count >= self.queues().max_dequeue_count {
            self.poison(lease, text).await
        } else {
            lease.release(self.core.visibility_timeout.unwrap_or(self.queues().visibility_timeout)).await;
            false
        };
        Processed { invocation: Some(invocation), poisoned }
    }

    fn decode(&self, text: &str) -> Option<String> {
        match self.queues().message_encoding {
            Encoding::Base64 => String::from_utf8(BASE64.decode(text).ok()?).ok(),
            Encoding::None => Some(text.to_owned()),
        }
    }

    /// Moves a message to `<queue>-poison`, where that is a name; else it stays hidden until its lease ends.
    async fn poison(&self, lease: Lease, text: String) -> bool {
        let name = format!("{}-poison", self.queue);
        if self.queue.ends_with("-poison") || name.len() > 63 {
            return false;
        }
        let copied = async {
            let message = azure_storage_queue::models::QueueMessage { message_text: Some(text) };
            self.storage.create_queue(&name).await?;
            self.storage.queue(&name)?.send_message(message.try_into()?, None).await?;
            anyhow::Ok(())
        };
        let copied = copied.await.is_ok();
        if copied {
            lease.delete().await;
        }
        copied
    }
}

struct Processed {
    invocation: Option<Invocation>,
    poisoned: bool,
}

impl QueueSummary {
    /// The summaries of listeners that ran side by side.
    pub(super) fn sum(summaries: Vec<Self>) -> Self {
        let mut sum = Self { is_empty: true, ..Self::default() };
        for summary in summaries {
            sum.invocations.extend(summary.invocations);
            sum.poisoned += summary.poisoned;
            sum.is_empty &= summary.is_empty;
            sum.duration = sum.duration.max(summary.duration);
        }
        sum
    }

    fn add(&mut self, done: Processed) {
        self.invocations.extend(done.invocation);
        self.poisoned += u64::from(done.poisoned);
    }
}

fn known(text: String, received: &ReceivedMessage) -> HostMessage {
    let time = |time: Option<azure_core::time::OffsetDateTime>| -> DateTime<Utc> {
        time.and_then(|time| DateTime::from_timestamp(time.unix_timestamp(), 0)).unwrap_or_default()
    };
    HostMessage {
        text,
        id: received.message_id.clone().unwrap_or_default(),
        dequeue_count: received.dequeue_count.unwrap_or(1),
        inserted: time(received.insertion_time),
        expires: time(received.expiration_time),
        next_visible: time(received.time_next_visible),
        pop_receipt: received.pop_receipt.clone().unwrap_or_default(),
    }
}

/// A received message, hidden from others for as long as it is in work. Where the service no longer knows the receipt or
/// cannot be reached, the message comes back by itself: at least once is all that is promised.
struct Lease {
    queue: Arc<QueueClient>,
    id: String,
    receipt: String,
    length: Duration,
}

impl Lease {
    /// Renews at half time until the work is done.
    async fn held<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(self.length / 2) => self.hide(self.length).await,
            }
        }
    }

    async fn hide(&mut self, time: Duration) {
        if let Ok(answer) = self.queue.update_message(&self.id, &self.receipt, seconds(time), None).await
            && let Ok(receipt) = answer.headers().get_str(&HeaderName::from_static("x-ms-popreceipt"))
        {
            self.receipt = receipt.to_owned();
        }
    }

    async fn release(mut self, after: Duration) {
        self.hide(after).await;
    }

    async fn delete(self) {
        let _ = self.queue.delete_message(&self.id, &self.receipt, None).await;
    }
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}
