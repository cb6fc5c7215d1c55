use procession::prelude::*;

pub struct Opaque;

#[derive(Default)]
struct Counter;

#[actor]
impl Counter {
    fn upto(&self) -> impl futures::Stream<Item = Opaque> + use<> {
        futures::stream::empty()
    }
}

fn main() {}
