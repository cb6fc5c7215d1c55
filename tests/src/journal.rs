//! A file that several processes append numbers to: what was really done, as nobody in between tells it.

use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;

use crate::Marker;

/// Numbers in the order in which they were written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Journal(Marker);

impl Journal {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Journal(Marker::new())
    }

    /// One more, in one write: a death leaves it whole or not at all.
    pub fn write(&self, number: u64) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.0.path())
            .expect("the journal's file");
        file.write_all(&number.to_le_bytes()).expect("a number");
    }

    /// All that was written.
    pub fn read(&self) -> Vec<u64> {
        let bytes = std::fs::read(self.0.path()).expect("the journal's file");
        let numbers = bytes.as_chunks().0.iter();
        numbers.map(|number| u64::from_le_bytes(*number)).collect()
    }

    /// Waits until so many were written.
    pub async fn reached(&self, count: u64) {
        self.0.reached(count * 8).await;
    }
}
