//! The agent contract.
