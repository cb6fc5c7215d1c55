fn main() -> procession::Result<()> {
    async fn main() -> procession::Result<()> {
        Ok(())
    }
    ::procession::private::main(
        ::procession::private::Main {
            name: ::core::concat!(::core::module_path!(), "::", "main"),
            flavor: ::procession::private::Flavor::MultiThread,
            worker_threads: ::core::option::Option::None,
            signals: true,
        },
        main,
    )
}
