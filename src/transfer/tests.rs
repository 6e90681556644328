//! The parts together, without a process.
