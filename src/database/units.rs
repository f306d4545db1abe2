//! Request units: how many this process was charged, and the pace that keeps them down where one is set.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use azure_data_cosmos_driver::models::RequestCharge;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep_until},
};

/// What was charged so far.
/// <https://learn.microsoft.com/azure/cosmos-db/request-units>
#[derive(Debug, Default)]
pub(super) struct RequestUnits {
    /// In thousandths.
    charged: AtomicU64,
    pace: Option<Pace>,
}

#[derive(Debug)]
struct Pace {
    a_second: f64,
    /// From then on the next may be charged. Who holds it writes; all others wait.
    free: Mutex<Instant>,
}

impl RequestUnits {
    /// At most so many a second.
    pub(super) fn paced(a_second: u32) -> Self {
        Self { charged: AtomicU64::default(), pace: Some(Pace { a_second: f64::from(a_second), free: Mutex::new(Instant::now()) }) }
    }

    pub(super) fn charge(&self, charge: RequestCharge) {
        self.charged.fetch_add((charge.value().max(0.0) * 1000.0) as u64, Ordering::Relaxed);
    }

    pub(super) fn charged(&self) -> f64 {
        self.charged.load(Ordering::Relaxed) as f64 / 1000.0
    }

    /// Waits until something may be written; none where no pace is set. One writes at a time, so that a turn's charge is known before the
    /// next begins: what was charged is paid for by waiting afterwards.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let pace = self.pace.as_ref()?;
        let free = pace.free.lock().await;
        sleep_until(*free).await;
        Some(Turn { units: self, a_second: pace.a_second, before: self.charged(), began: Instant::now(), free })
    }
}

/// A turn to write, until it is dropped.
pub(super) struct Turn<'a> {
    units: &'a RequestUnits,
    a_second: f64,
    before: f64,
    began: Instant,
    free: MutexGuard<'a, Instant>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let charged = self.units.charged() - self.before;
        // Counted from the turn's begin: the time of the writing itself is not waited for again, and no idle time is saved up.
        *self.free = self.began + Duration::from_secs_f64(charged / self.a_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_charged_is_paid_for_by_waiting_and_no_time_is_saved_up() {
        let mut units = RequestUnits::paced(100_000);
        if let Some(pace) = &mut units.pace {
            // Idle for a long time.
            *pace.free.get_mut() -= Duration::from_secs(60);
        }
        let begin = Instant::now();
        for _ in 0..10 {
            let turn = units.turn().await;
            units.charge(RequestCharge::new(1000.0));
            drop(turn);
        }
        // The last one is not waited for.
        assert!(begin.elapsed() >= Duration::from_millis(90), "{:?}", begin.elapsed());
        assert!((units.charged() - 10_000.0).abs() < 0.1);
    }

    #[tokio::test]
    async fn without_a_pace_nothing_waits() {
        let units = RequestUnits::default();
        units.charge(RequestCharge::new(1e9));
        assert!(units.turn().await.is_none());
    }
}
