//! How the primary is broken, as an application may meet it.

use kevy_elect_harness::words;

words! {
    /// One of them.
    pub(crate) enum Fault {
        Kill = "kill" => "kill -9",
        KillReturn = "kill-return" => "kill -9, started again at once",
        Term = "term" => "SIGTERM",
        Transfer = "transfer" => "SENTINEL FAILOVER",
        Stop = "stop" => "SIGSTOP",
        StopBare = "stop-bare" => "SIGSTOP without watchdog",
        Isolate = "isolate" => "isolation from its peers",
    }
}
