//! Prints the table of [`benches`].

fn main() {
    benches::main();
}
