//! One line of the table.

use crate::fault::Fault;
use crate::part::Part;
use crate::programs::{Client, Way, Work};

/// What is run for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) client: Client,
    pub(crate) way: Way,
    pub(crate) work: Work,
    pub(crate) fault: Fault,
    pub(crate) dead_first: bool,
    /// Of everything, where that is run.
    pub(crate) part: Option<Part>,
}
