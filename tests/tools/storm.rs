//! A short storm: two handlers, faults of every kind for a quarter of a minute, and an account of every record.

use std::path::Path;

use activity::{
    prove::storm::{StormOptions, storm},
    screen::Screen,
};

#[tokio::test]
async fn a_short_storm_loses_nothing_and_doubles_nothing() {
    let options = StormOptions { seed: 7, minutes: 0.25, records_count: 3000 };
    let account = storm(options, Path::new(env!("CARGO_BIN_EXE_handler")), &Screen::quiet()).await.unwrap();
    assert!(account.is_kept(), "{account}");
}
