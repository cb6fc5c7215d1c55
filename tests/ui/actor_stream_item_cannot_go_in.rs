use futures::Stream;
use procession::prelude::*;

struct Image;

#[derive(Default)]
struct Counter;

#[actor]
impl Counter {
    async fn sum(&self, images: impl Stream<Item = Image>) {
        drop(images);
    }
}

fn main() {}
