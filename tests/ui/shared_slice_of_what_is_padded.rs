use procession::prelude::*;

#[derive(Clone, Copy)]
#[repr(C)]
struct Padded {
    flag: u8,
    count: u32,
}

fn main() {
    let _ = SharedSlice::from_slice(&[Padded { flag: 1, count: 2 }]);
}
