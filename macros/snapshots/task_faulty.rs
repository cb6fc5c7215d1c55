::core::compile_error! {
    "an argument that travels has a plain name: name it and take it apart in the body"
}
::core::compile_error! {
    "a borrow inside another type cannot travel to another process: write `Vec<String>`"
}
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct join {}
#[doc(hidden)]
#[allow(non_upper_case_globals)]
static join: join = join {};
const _: () = {
    #[allow(dead_code)]
    fn join((a, b): (u32, u32), words: Vec<&str>) -> String {
        words.join(" ")
    }
    #[automatically_derived]
    impl ::core::ops::Deref for join {
        type Target = fn((u32, u32), Vec<&str>) -> String;
        fn deref(&self) -> &Self::Target {
            const FUNCTION: fn((u32, u32), Vec<&str>) -> String = |_, _| {
                ::core::unreachable!()
            };
            &FUNCTION
        }
    }
    #[automatically_derived]
    impl ::procession::Task for join {
        type Input = ((u32, u32), Vec<String>);
        type Output = String;
        type Error = ::procession::Never;
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::task::<
                join,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "join",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 5527114335067510662u64,
            });
            &ROW
        }
        async fn call(
            _: Self::Input,
        ) -> ::core::result::Result<Self::Output, Self::Error> {
            ::core::unreachable!()
        }
        fn encode_input(
            input: &Self::Input,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            let (arg0, arg1) = input;
            <(u32, u32) as ::procession::Wire>::encode(arg0, out)?;
            <Vec<String> as ::procession::Wire>::encode(arg1, out)?;
            ::core::result::Result::Ok(())
        }
        fn decode_input(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Input, ::procession::Error> {
            ::core::result::Result::Ok((
                <(u32, u32) as ::procession::Wire>::decode(bytes)?,
                <Vec<String> as ::procession::Wire>::decode(bytes)?,
            ))
        }
        fn encode_output(
            given: &Self::Output,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            <String as ::procession::Wire>::encode(given, out)
        }
        fn decode_output(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Output, ::procession::Error> {
            <String as ::procession::Wire>::decode(bytes)
        }
        fn encode_error(
            given: &Self::Error,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            <::procession::Never as ::procession::private::Failure>::encode(given, out)
        }
        fn decode_error(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Error, ::procession::Error> {
            <::procession::Never as ::procession::private::Failure>::decode(bytes)
        }
    }
};
