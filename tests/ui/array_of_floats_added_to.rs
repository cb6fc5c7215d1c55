use procession::prelude::*;

fn main() {
    let _ = Array::<f64>::zeroed(10).unwrap().fetch_add(0, 1.0);
}
