//! Nothing but a place for benches: see `benches/codec.rs`.
