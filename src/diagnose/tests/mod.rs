//! Planted faults and quiet runs, and the laws that every answer keeps.

mod alike;
mod asked;
mod awaited;
mod called;
mod differences;
mod faults;
mod laws;
mod measured;
mod peaks;
mod places;
mod queues;
mod shared;
mod shop;
mod simulation;
mod suspected;
mod tolerated;
mod what_if;
