#[::core::prelude::v1::test]
#[should_panic(expected = "boom")]
fn panics() {
    async fn panics() {
        panic!("boom")
    }
    ::procession::private::test(
        ::procession::private::Main {
            name: ::core::concat!(::core::module_path!(), "::", "panics"),
            flavor: ::procession::private::Flavor::MultiThread,
            worker_threads: ::core::option::Option::Some(2usize),
            signals: false,
        },
        panics,
    )
}
