/// Ticks.
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct clock {}
/// Ticks.
#[doc(hidden)]
#[allow(non_upper_case_globals)]
static clock: clock = clock {};
const _: () = {
    async fn clock(name: &str, period: Duration) -> procession::Result<()> {
        loop {}
    }
    #[automatically_derived]
    impl ::core::ops::Deref for clock {
        type Target = for<'lent> fn(
            &'lent str,
            Duration,
        ) -> ::procession::private::LocalBoxFuture<'lent, procession::Result<()>>;
        fn deref(&self) -> &Self::Target {
            const FUNCTION: for<'lent> fn(
                &'lent str,
                Duration,
            ) -> ::procession::private::LocalBoxFuture<'lent, procession::Result<()>> = |
                arg0,
                arg1|
            ::std::boxed::Box::pin(clock(arg0, arg1));
            &FUNCTION
        }
    }
    #[automatically_derived]
    impl ::procession::private::Service for clock {
        type Input = (::procession::private::Owned<str>, Duration);
        type Error = <procession::Result<()> as ::procession::private::Fallible>::Error;
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::service::<
                clock,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "clock",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 4582151550287711563u64,
            });
            &ROW
        }
        async fn call(
            (arg0, arg1): Self::Input,
        ) -> ::core::result::Result<(), Self::Error> {
            clock(::procession::private::lend::<str>(&arg0), arg1)
                .await
                .map(::core::mem::drop)
        }
        fn encode_input(
            input: &Self::Input,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::procession::Error> {
            let (arg0, arg1) = input;
            <::procession::private::Owned<
                str,
            > as ::procession::Wire>::encode(arg0, out)?;
            <Duration as ::procession::Wire>::encode(arg1, out)?;
            ::core::result::Result::Ok(())
        }
        fn decode_input(
            bytes: &mut &[u8],
        ) -> ::core::result::Result<Self::Input, ::procession::Error> {
            ::core::result::Result::Ok((
                <::procession::private::Owned<
                    str,
                > as ::procession::Wire>::decode(bytes)?,
                <Duration as ::procession::Wire>::decode(bytes)?,
            ))
        }
    }
    #[allow(dead_code, unreachable_pub)]
    impl clock {
        /// How to start this service, and what to do when it ends.
        fn spec(
            self,
            name: &str,
            period: Duration,
        ) -> ::procession::Spec<::procession::ServiceRef> {
            ::procession::private::service_spec::<
                Self,
            >(
                ::procession::private::encoded(|out| {
                    <::procession::private::Owned<
                        str,
                    > as ::procession::Wire>::encode(
                        &<str as ::std::borrow::ToOwned>::to_owned(name),
                        out,
                    )?;
                    <Duration as ::procession::Wire>::encode(&period, out)?;
                    ::core::result::Result::Ok(())
                }),
            )
        }
        /// Starts this service in a process of its own.
        fn spawn(
            self,
            name: &str,
            period: Duration,
        ) -> impl ::core::future::Future<
            Output = ::procession::Result<::procession::ServiceRef>,
        > + ::core::marker::Send + use<> {
            self.spec(name, period).spawn()
        }
    }
};
