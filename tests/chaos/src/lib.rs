//! What `cargo chaos` lends to `cargo race`: namespaces of a program's own, and links in them that can be cut.

pub mod net;
pub mod space;
