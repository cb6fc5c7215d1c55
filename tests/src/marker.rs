//! A file by which a process says that it came somewhere: it needs no reader, no link and no memory of its writer.

use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::deadline::until;

/// Counts how often a place was reached, across processes. Its file is gone with the one that made it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Marker {
    path: PathBuf,
    #[serde(skip)]
    _owned: Option<std::sync::Arc<Owned>>,
}

#[derive(Debug)]
struct Owned(PathBuf);

impl Marker {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("procession-tests-{}-{n}", std::process::id()));
        fs::write(&path, "").expect("a file for a marker");
        Marker {
            _owned: Some(std::sync::Arc::new(Owned(path.clone()))),
            path,
        }
    }

    /// Its file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// One more; says how often before.
    pub fn reach(&self) -> u64 {
        let before = self.count();
        let mut file = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .expect("the marker's file");
        file.write_all(b".").expect("a mark");
        before
    }

    /// How often it was reached.
    pub fn count(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Waits until it was reached that often.
    pub async fn reached(&self, times: u64) {
        until(format!("a marker was reached {times} times"), || {
            self.count() >= times
        })
        .await;
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
