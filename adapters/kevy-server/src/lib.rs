//! The real kevy 7 with the election plugin inside (work in progress).
