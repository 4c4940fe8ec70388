//! The election while the program runs.

use crate::ending::Ending;
use futures_lite::FutureExt;
use kevy_elect_plugin::plugin::Election;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the election. If it ends by itself, that is said, `failed` is set, and the program ends: a server without it must not be
/// written to.
pub async fn run(election: Election, ending: Arc<Ending>, failed: Arc<AtomicBool>) {
    let reason = match AssertUnwindSafe(election).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the election ended by a panic".to_owned(),
    };
    log::error!("{reason}");
    failed.store(true, Ordering::Release);
    ending.wish(false);
}
