//! What `doctor` finds.

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether it has to be mended now.
    pub(crate) grave: bool,
    /// Where; empty: the cluster.
    pub(crate) node: String,
    pub(crate) what: String,
    pub(crate) remedy: String,
}
