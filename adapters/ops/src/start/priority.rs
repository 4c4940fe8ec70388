//! The election's thread is not kept waiting by the others.

use crate::inline::Inline;
use kevy_elect_watchdog::prefer_this_thread;
use std::sync::mpsc::sync_channel;

/// Has the thread of the election run before all others of this machine, as `[elect] realtime` says. An election that waits for a
/// processor cannot be told from one that is stopped: its primary loses its lease, and perhaps its process.
pub fn prefer_election(realtime: Option<bool>, inline: Inline) -> Result<(), String> {
    if realtime == Some(false) {
        return Ok(());
    }
    let (tell, preferred) = sync_channel(1);
    inline.spawn(async move {
        // On that thread.
        let _ = tell.try_send(prefer_this_thread());
    });
    let error = match preferred.recv() {
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(())) => return Ok(()),
        Err(gone) => gone.to_string(),
    };
    let how = "allow it (LimitRTPRIO=1 for systemd, ulimit -r 1, --cap-add SYS_NICE for a container)";
    match realtime {
        Some(true) => Err(format!(
            "[elect] realtime: the election's thread cannot run before all others: {error}; {how}, or remove the key"
        )),
        _ => {
            log::info!(
                "the election's thread waits its turn for a processor like all others: {error}; on a busy machine {how}"
            );
            Ok(())
        }
    }
}
