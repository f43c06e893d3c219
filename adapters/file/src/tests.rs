//! Both directions on real folders.

mod receiving;
mod recovering;
mod sending;
