//! The same program as `cargo bench -p benches`, at a path that scripts can name.

fn main() {
    benches::main();
}
