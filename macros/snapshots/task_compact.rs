#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct add {}
#[doc(hidden)]
#[allow(non_upper_case_globals)]
static add: add = add {};
const _: () = {
    fn add(point: Point, body: &[u8]) -> Result<Point, Overflow> {
        Ok(point)
    }
    #[automatically_derived]
    impl ::core::ops::Deref for add {
        type Target = fn(Point, &[u8]) -> Result<Point, Overflow>;
        fn deref(&self) -> &Self::Target {
            const FUNCTION: fn(Point, &[u8]) -> Result<Point, Overflow> = add;
            &FUNCTION
        }
    }
    #[automatically_derived]
    impl ::procession::Task for add {
        type Input = (Point, ::procession::private::Owned<[u8]>);
        type Output = Point;
        type Error = Overflow;
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::task::<
                add,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "add",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 5550323721588717081u64,
            });
            &ROW
        }
        async fn call(
            (arg0, arg1): Self::Input,
        ) -> ::core::result::Result<Self::Output, Self::Error> {
            add(arg0, ::procession::private::lend::<[u8]>(&arg1))
        }
        fn encode_input(
            input: &Self::Input,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            let (arg0, arg1) = input;
            <Point as ::procession::Wire>::encode_compact(arg0, out)?;
            <::procession::private::Owned<
                [u8],
            > as ::procession::private::Slice>::encode(arg1, out)?;
            ::core::result::Result::Ok(())
        }
        fn decode_input(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Input, ::procession::Error> {
            ::core::result::Result::Ok((
                <Point as ::procession::Wire>::decode_compact(bytes)?,
                <::procession::private::Owned<
                    [u8],
                > as ::procession::private::Slice>::decode(bytes)?,
            ))
        }
        fn encode_output(
            given: &Self::Output,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            <Point as ::procession::Wire>::encode_compact(given, out)
        }
        fn decode_output(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Output, ::procession::Error> {
            <Point as ::procession::Wire>::decode_compact(bytes)
        }
        fn encode_error(
            given: &Self::Error,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            <Overflow as ::procession::private::Failure>::encode_compact(given, out)
        }
        fn decode_error(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Error, ::procession::Error> {
            <Overflow as ::procession::private::Failure>::decode_compact(bytes)
        }
    }
};
