//! Going on in a new primary's history without a copy.

pub(crate) mod gather;
pub(crate) mod history;
pub(crate) mod passes;
pub(crate) mod path;
pub(crate) mod pins;
pub(crate) mod resume;
pub(crate) mod ring;
