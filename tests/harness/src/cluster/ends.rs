//! How processes end: by a fault, by themselves, in order; and what a supervisor does then.

use super::Cluster;
use super::member::{Restart, Resumption};
use crate::failure::{Failure, Interrupt};
use crate::verdict::Node;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// How long a process may take to end after SIGTERM.
const TERM_PATIENCE: Duration = Duration::from_secs(20);
/// How often processes are started again between two calls of [`Cluster::take_restarts`]. More is no recovery.
const RESTARTS_MAX: usize = 50;

impl Cluster {
    /// SIGKILL; returns once the process is gone.
    pub fn kill(&mut self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::KILL)?;
        self.reap(node).map(|_| ())
    }

    /// SIGSTOP. A primary with a watchdog ends when its lease does; nobody is to blame for that.
    pub fn stop(&mut self, node: Node) -> Result<(), Failure> {
        self.members[node].stopped = true;
        self.signal(node, Signal::STOP)
    }

    /// SIGCONT. Where its watchdog has ended the process, it is started again, as a supervisor would.
    pub fn resume(&mut self, node: Node) -> Result<Resumption, Failure> {
        if self.restarts.is_some() {
            // Starting it clears the mark.
            self.start_again(node)?;
            if !self.members[node].stopped {
                return Ok(Resumption::StartedAgain);
            }
        } else if self.watchdog_ended(node)? {
            self.launch(node)?;
            return Ok(Resumption::StartedAgain);
        }
        self.members[node].stopped = false;
        self.signal(node, Signal::CONT)?;
        Ok(Resumption::Continued)
    }

    /// Whether the process of a stopped node has been ended: by its watchdog, for nobody else did.
    pub fn watchdog_ended(&mut self, node: Node) -> Result<bool, Failure> {
        match self.exited(node)? {
            Some(status) if status.signal() != Some(Signal::KILL.as_raw()) => Err(self.died(node, status)),
            _ => Ok(self.members[node].stopped && self.members[node].process.is_none()),
        }
    }

    /// SIGTERM.
    pub fn terminate(&self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::TERM)
    }

    /// Whether a node that was told to end has done so. It must exit with 0.
    pub fn ended_in_order(&mut self, node: Node, interrupt: &Interrupt) -> Result<(), Failure> {
        let status = interrupt.wait_for(TERM_PATIENCE, || self.exited(node))?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::BadExit {
                node: self.members[node].id.clone(),
                status: describe(status),
                evidence: self.evidence(),
            }),
            None => {
                Err(self
                    .timeout(format!("{} did not end after SIGTERM", self.members[node].id), TERM_PATIENCE))
            }
        }
    }

    /// How the node's process ended, if it has. Asked once per end: the process is then forgotten.
    pub fn exited(&mut self, node: Node) -> Result<Option<ExitStatus>, Failure> {
        let member = &mut self.members[node];
        let Some(process) = &mut member.process else { return Ok(None) };
        let status = process.try_wait().map_err(Failure::os(format!("wait for {}", member.id)))?;
        if status.is_some() {
            self.guard.forget(process.id());
            member.process = None;
        }
        Ok(status)
    }

    /// From now on [`Cluster::check_alive`] starts again what has ended, as a supervisor would
    /// (systemd's `Restart=always`).
    pub fn supervise(&mut self) {
        self.restarts.get_or_insert_default();
    }

    /// What was started again since the last call.
    pub fn take_restarts(&mut self) -> Vec<Restart> {
        self.restarts.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// An error if a node that should run has ended, or, under [`Cluster::supervise`], if it does so too often.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        for node in 0..self.members.len() {
            if self.restarts.is_some() {
                self.start_again(node)?;
            } else if self.members[node].stopped {
                self.watchdog_ended(node)?;
            } else if let Some(status) = self.exited(node)? {
                return Err(self.died(node, status));
            }
        }
        Ok(())
    }

    /// What a supervisor does.
    fn start_again(&mut self, node: Node) -> Result<(), Failure> {
        let Some(status) = self.exited(node)? else { return Ok(()) };
        let at = self.clock.now();
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        match self.restarts.as_mut().filter(|restarts| restarts.len() < RESTARTS_MAX) {
            Some(restarts) => restarts.push(Restart { node, at, status: describe(status), killed }),
            None => return Err(self.died(node, status)),
        }
        self.launch(node)
    }

    fn died(&self, node: Node, status: ExitStatus) -> Failure {
        Failure::Died {
            node: self.members[node].id.clone(),
            status: describe(status),
            evidence: self.evidence_of(node),
        }
    }
}

/// "exit status: 1" or "signal: 6".
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
