//! The Office 365 Management Activity API. It knows nothing of queues, journals or documents.
//! <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference>

mod advice;
mod client;
mod error;
mod pace;
mod refusals;
mod wire;

pub(crate) use self::refusals::{Fetched, Refusals};
pub use self::{
    advice::Advice,
    client::{ActivityClient, ContentBody, LISTABLE, Listing, SETTLE, SKEW, ToldTime, Window, retry_after, told_offset},
    error::{ActivityError, Remedy, body_error},
    wire::{ContentBlob, ServiceError, Subscription},
};
