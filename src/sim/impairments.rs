//! What faults make of a machine, in both worlds.

use super::clock::MS;
use super::fault::FaultKind;
use crate::fence::Health;

/// Counts the process starts of the whole run: what belongs to an earlier process is recognised by it.
pub(super) type Life = u32;

/// Faults that act on a machine now; several of one kind may overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Impairments {
    pub(super) down: u16,
    pub(super) stopped: u16,
    pub(super) asleep: u16,
    pub(super) disk_failing: u16,
    pub(super) disk_hanging: u16,
    pub(super) disk_slow: u64,
    pub(super) host_failing: u16,
    pub(super) host_hanging: u16,
    pub(super) host_slow: u64,
    pub(super) unhealthy: u16,
    pub(super) ailing: u16,
    pub(super) elections_paused: u16,
    pub(super) low_memory: u16,
    /// A shard does not turn, beside a driver that does.
    pub(super) hung: u16,
    /// The server has noticed that.
    pub(super) stuck: bool,
}

impl Impairments {
    /// A fault begins that only counts here; whatever else it does is for the world to do.
    pub(super) fn begin(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::SlowDisk { ms } => self.disk_slow = ms * MS,
            FaultKind::SlowHost { ms } => self.host_slow = ms * MS,
            kind => {
                if let Some(count) = self.count(kind) {
                    *count += 1;
                }
            }
        }
    }

    /// It ends.
    pub(super) fn end(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::SlowDisk { .. } => self.disk_slow = 0,
            FaultKind::SlowHost { .. } => self.host_slow = 0,
            kind => {
                if let Some(count) = self.count(kind) {
                    *count -= 1;
                }
            }
        }
    }

    fn count(&mut self, kind: FaultKind) -> Option<&mut u16> {
        match kind {
            FaultKind::Pause => Some(&mut self.stopped),
            FaultKind::Suspend => Some(&mut self.asleep),
            FaultKind::FailingDisk => Some(&mut self.disk_failing),
            FaultKind::HangingDisk => Some(&mut self.disk_hanging),
            FaultKind::FailingHost => Some(&mut self.host_failing),
            FaultKind::HangingHost => Some(&mut self.host_hanging),
            FaultKind::Unhealthy => Some(&mut self.unhealthy),
            FaultKind::Ailing => Some(&mut self.ailing),
            FaultKind::OperatorPause => Some(&mut self.elections_paused),
            FaultKind::LowMemory => Some(&mut self.low_memory),
            _ => None,
        }
    }

    /// Whether the process runs, if there is one.
    pub(super) fn runs(&self) -> bool {
        self.stopped == 0 && self.asleep == 0
    }

    /// Whether disk and host leave the elector to itself.
    pub(super) fn let_elect(&self) -> bool {
        (self.disk_failing, self.disk_hanging, self.disk_slow) == (0, 0, 0)
            && (self.host_failing, self.host_hanging, self.host_slow) == (0, 0, 0)
    }

    /// What the server says of itself.
    pub(super) fn health(&self) -> Health {
        match (self.unhealthy, self.ailing) {
            (1.., _) => Health::Failing,
            _ if self.stuck => Health::Stuck,
            (_, 1..) => Health::Disk,
            _ => Health::Good,
        }
    }
}

/// What a fault of the plan has done, so that exactly that can be undone.
#[derive(Debug, Clone, Default)]
pub(super) struct Active {
    pub(super) on: bool,
    pub(super) node: usize,
    /// Directions that it cut.
    pub(super) cut: Vec<(usize, usize)>,
    /// When the machine fell asleep.
    pub(super) slept_at: u64,
    /// The second process that it started.
    pub(super) ghost: Life,
}
