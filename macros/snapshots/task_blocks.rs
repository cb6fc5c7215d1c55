#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub(crate) struct pack {}
#[doc(hidden)]
#[allow(non_upper_case_globals)]
pub(crate) static pack: pack = pack {};
const _: () = {
    fn pack(head: &[u8], body: Vec<u8>) -> procession::Result<Bytes> {
        Ok(Bytes::new())
    }
    #[automatically_derived]
    impl ::core::ops::Deref for pack {
        type Target = fn(&[u8], Vec<u8>) -> procession::Result<Bytes>;
        fn deref(&self) -> &Self::Target {
            const FUNCTION: fn(&[u8], Vec<u8>) -> procession::Result<Bytes> = pack;
            &FUNCTION
        }
    }
    #[automatically_derived]
    impl ::procession::Task for pack {
        type Input = (::procession::private::Owned<[u8]>, Vec<u8>);
        type Output = <procession::Result<
            Bytes,
        > as ::procession::private::Fallible>::Value;
        type Error = <procession::Result<
            Bytes,
        > as ::procession::private::Fallible>::Error;
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::task::<
                pack,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "pack",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 5648962537364887467u64,
            });
            &ROW
        }
        async fn call(
            (arg0, arg1): Self::Input,
        ) -> ::core::result::Result<Self::Output, Self::Error> {
            pack(::procession::private::lend::<[u8]>(&arg0), arg1)
        }
        fn encode_input(
            input: &Self::Input,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            let (arg0, arg1) = input;
            <::procession::private::Owned<
                [u8],
            > as ::procession::private::Slice>::encode(arg0, out)?;
            <Vec<u8> as ::procession::private::Blob>::encode(arg1, out)?;
            ::core::result::Result::Ok(())
        }
        fn decode_input(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Input, ::procession::Error> {
            ::core::result::Result::Ok((
                <::procession::private::Owned<
                    [u8],
                > as ::procession::private::Slice>::decode(bytes)?,
                <Vec<u8> as ::procession::private::Blob>::decode(bytes)?,
            ))
        }
        fn encode_output(
            given: &Self::Output,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            <<procession::Result<
                Bytes,
            > as ::procession::private::Fallible>::Value as ::procession::private::Blob>::encode(
                given,
                out,
            )
        }
        fn decode_output(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Output, ::procession::Error> {
            <<procession::Result<
                Bytes,
            > as ::procession::private::Fallible>::Value as ::procession::private::Blob>::decode(
                bytes,
            )
        }
        fn encode_error(
            given: &Self::Error,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            <<procession::Result<
                Bytes,
            > as ::procession::private::Fallible>::Error as ::procession::private::Failure>::encode(
                given,
                out,
            )
        }
        fn decode_error(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Error, ::procession::Error> {
            <<procession::Result<
                Bytes,
            > as ::procession::private::Fallible>::Error as ::procession::private::Failure>::decode(
                bytes,
            )
        }
    }
};
