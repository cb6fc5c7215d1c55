#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct count {}
#[doc(hidden)]
#[allow(non_upper_case_globals)]
static count: count = count {};
const _: () = {
    async fn count(path: &Path, words: &[String], limit: u64) -> Result<u64, String> {
        Ok(limit)
    }
    #[automatically_derived]
    impl ::core::ops::Deref for count {
        type Target = for<'lent> fn(
            &'lent Path,
            &'lent [String],
            u64,
        ) -> ::procession::private::LocalBoxFuture<'lent, Result<u64, String>>;
        fn deref(&self) -> &Self::Target {
            const FUNCTION: for<'lent> fn(
                &'lent Path,
                &'lent [String],
                u64,
            ) -> ::procession::private::LocalBoxFuture<'lent, Result<u64, String>> = |
                arg0,
                arg1,
                arg2|
            ::std::boxed::Box::pin(count(arg0, arg1, arg2));
            &FUNCTION
        }
    }
    #[automatically_derived]
    impl ::procession::Task for count {
        type Input = (
            ::procession::private::Owned<Path>,
            ::procession::private::Owned<[String]>,
            u64,
        );
        type Output = u64;
        type Error = String;
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::task::<
                count,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "count",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 12543039291235682542u64,
            });
            &ROW
        }
        async fn call(
            (arg0, arg1, arg2): Self::Input,
        ) -> ::core::result::Result<Self::Output, Self::Error> {
            count(
                    ::procession::private::lend::<Path>(&arg0),
                    ::procession::private::lend::<[String]>(&arg1),
                    arg2,
                )
                .await
        }
        fn encode_input(
            input: &Self::Input,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            let (arg0, arg1, arg2) = input;
            <::procession::private::Owned<
                Path,
            > as ::procession::Wire>::encode(arg0, out)?;
            <::procession::private::Owned<
                [String],
            > as ::procession::Wire>::encode(arg1, out)?;
            <u64 as ::procession::Wire>::encode(arg2, out)?;
            ::core::result::Result::Ok(())
        }
        fn decode_input(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Input, ::procession::Error> {
            ::core::result::Result::Ok((
                <::procession::private::Owned<
                    Path,
                > as ::procession::Wire>::decode(bytes)?,
                <::procession::private::Owned<
                    [String],
                > as ::procession::Wire>::decode(bytes)?,
                <u64 as ::procession::Wire>::decode(bytes)?,
            ))
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
            <String as ::procession::private::Failure>::encode(given, out)
        }
        fn decode_error(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Error, ::procession::Error> {
            <String as ::procession::private::Failure>::decode(bytes)
        }
    }
};
