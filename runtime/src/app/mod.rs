//! What a program is made of: its `main`, its tests, its settings, its signals, and how it is entered as a child.

pub(crate) mod child;
pub(crate) mod config;
pub(crate) mod in_use;
pub(crate) mod main;
pub(crate) mod signals;
pub(crate) mod test;
