//! Deliberate faults of the driver, so that the simulator of the whole stack can show that it would find them.
//!
//! A build without feature `sim` has no place to keep one: every question is answered "no" at compile time.

use crate::words::faults;

faults! {
    /// What the driver does wrong.
    pub enum DriverMutation {
        /// A save is acknowledged when it begins: votes are spoken before they are durable.
        SpeakBeforeSaved,
        /// A promotion is reported when it begins: the gate opens before the host serves.
        OpenBeforePromoted,
        /// Messages leave before the gate is as shut as the elector wants it.
        SendBeforeShut,
        /// A promotion goes on after the office is lost.
        PromoteAfterFence,
        /// The machine's sleep is not noticed.
        SleepUnseen,
        /// The host is not made to let go: the position that it last told is taken for the exact one.
        DetachSkipped,
        /// The gate stays as it is when the driver ends.
        OpenAfterEnd,
        /// The gate opens for a lease that the host has not been told of yet.
        OpenBeforeTold,
    }
}
