use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn label(&self, words: Option<&str>) -> String {
        format!("{words:?}: {}", self.total)
    }
}

fn main() {}
