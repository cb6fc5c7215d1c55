/// The third power.
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub struct cube {}
/// The third power.
#[doc(hidden)]
#[allow(non_upper_case_globals)]
pub static cube: cube = cube {};
const _: () = {
    #[must_use]
    fn cube(x: u64) -> u64 {
        x.pow(3)
    }
    #[automatically_derived]
    impl ::core::ops::Deref for cube {
        type Target = fn(u64) -> u64;
        fn deref(&self) -> &Self::Target {
            const FUNCTION: fn(u64) -> u64 = cube;
            &FUNCTION
        }
    }
    #[automatically_derived]
    impl ::procession::Task for cube {
        type Input = u64;
        type Output = u64;
        type Error = ::procession::Never;
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::task::<
                cube,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "cube",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 6920439263449475467u64,
            });
            &ROW
        }
        async fn call(
            arg0: Self::Input,
        ) -> ::core::result::Result<Self::Output, Self::Error> {
            ::core::result::Result::Ok(cube(arg0))
        }
        fn encode_input(
            input: &Self::Input,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            let arg0 = input;
            <u64 as ::procession::Wire>::encode(arg0, out)?;
            ::core::result::Result::Ok(())
        }
        fn decode_input(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Input, ::procession::Error> {
            <u64 as ::procession::Wire>::decode(bytes)
        }
        fn encode_output(
            given: &Self::Output,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            <u64 as ::procession::Wire>::encode(given, out)
        }
        fn decode_output(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Output, ::procession::Error> {
            <u64 as ::procession::Wire>::decode(bytes)
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
