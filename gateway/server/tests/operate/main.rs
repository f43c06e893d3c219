//! The verbs of an operator and the admin API against a running gateway.

mod api;
mod backup;
mod cluster;
mod dev;
mod doubts;
mod explain;
mod orchestrations;
mod tls;
mod told;
mod verbs;
