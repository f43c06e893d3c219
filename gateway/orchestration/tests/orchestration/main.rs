//! Definitions, their faults, and what the machine makes of them.

mod bounds;
mod driver;
mod errors;
mod examples;
mod faults;
mod operating;
mod points;
mod rehearsing;
mod simulation;
mod support;
