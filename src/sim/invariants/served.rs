//! E9: while a quorum of electors hear each other and one of them has a server that is fit, and not behind a quorum of them, there is
//! a writable primary within the bound of E6, whatever hangs elsewhere.

use super::found::Found;
use crate::sim::clock::MS;

#[derive(Debug, Default)]
pub(in crate::sim) struct Served {
    /// Since when there could be a primary, and is none.
    unserved_since: Option<u64>,
}

impl Served {
    /// `since`: from when on nothing is in the way; `None`: something is, or there is a primary.
    pub(in crate::sim) fn look(&mut self, now: u64, since: Option<u64>, bound: u64, fit: usize) -> Found {
        let Some(since) = since else {
            self.unserved_since = None;
            return None;
        };
        let since = self.unserved_since.map_or(now, |known| known.max(since));
        self.unserved_since = Some(since);
        (now > since + bound).then(|| {
            let waited = (now - since) / MS;
            let text = format!("a quorum of electors is well, and n{fit} fit, for {waited} ms");
            ("a fit server is elected (E9)", text)
        })
    }
}
