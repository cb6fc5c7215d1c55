use procession::prelude::*;

struct Stack<T>(Vec<T>);

#[actor]
impl<T> Stack<T> {
    fn push(&mut self, item: T) {
        self.0.push(item);
    }
}

fn main() {}
