//! What rustc says to those who misuse the attributes, and that it says nothing to those who do not.
//!
//! Each fixture in `ui` holds one fault. `TRYBUILD=overwrite cargo test -p tests --test diagnostics` writes the
//! messages anew; read them before they are committed.

#[test]
fn each_fault_is_named_once_at_its_token_with_a_remedy() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}

#[test]
fn sound_programs_compile_without_a_warning() {
    trybuild::TestCases::new().pass("ui/pass/*.rs");
}
