impl Reader {
    async fn sum(&self, mut numbers: impl Stream<Item = u64> + Unpin) -> u64 {
        numbers.fold(0, add).await
    }
    async fn told(
        &mut self,
        name: &str,
        numbers: impl Stream<Item = procession::Result<u64>>,
    ) -> Result<u64, Error> {
        numbers.try_fold(0, add).await
    }
    fn doubled(
        &self,
        numbers: ::procession::Receiver<Reader>,
    ) -> impl Stream<Item = u64> + use<> {
        numbers.map(double)
    }
    async fn both(
        &self,
        a: ::procession::private::Items<u64>,
        b: ::procession::private::Items<Vec<u8>>,
    ) -> impl Stream<Item = u64> + use<> {
        a.zip(b)
    }
}
///A handle to a `Reader` in a process of its own. Dropping it, or the last of its clones, stops nothing.
#[allow(dead_code, unreachable_pub)]
#[derive(
    ::core::clone::Clone,
    ::core::fmt::Debug,
    ::core::cmp::PartialEq,
    ::core::cmp::Eq,
    ::core::hash::Hash,
)]
pub struct ReaderRef(::procession::ActorRef<__ReaderMarker>);
#[doc(hidden)]
#[allow(unreachable_pub)]
#[derive(::core::fmt::Debug)]
pub enum __ReaderMarker {}
const _: () = {
    #[allow(dead_code, private_interfaces, unreachable_pub)]
    impl Reader {
        ///How to start a `Reader`, and what to do when it ends.
        pub fn spec() -> ::procession::Spec<ReaderRef> {
            ::procession::private::actor_spec::<
                Self,
                ReaderRef,
            >(::procession::private::encoded(|_| { ::core::result::Result::Ok(()) }))
        }
        ///Starts a `Reader` in a process of its own.
        pub fn spawn() -> impl ::core::future::Future<
            Output = ::procession::Result<ReaderRef>,
        > + ::core::marker::Send + use<> {
            Self::spec().spawn()
        }
    }
    #[allow(dead_code, private_interfaces, unreachable_pub)]
    impl ReaderRef {
        /// The actor of that name, found when it is called.
        pub fn named(name: impl ::core::convert::Into<::std::string::String>) -> Self {
            Self(::procession::ActorRef::named(name))
        }
        /// The living actor of that name, or an error where there is none.
        pub async fn lookup(name: &str) -> ::procession::Result<Self> {
            ::procession::ActorRef::lookup(name).await.map(Self)
        }
        fn sum(
            &self,
            numbers: impl ::procession::private::Stream<
                Item = u64,
            > + ::core::marker::Send + 'static,
        ) -> ::procession::Call<u64, ::procession::Never> {
            let mut feeds = ::procession::private::Feeds::new();
            ::procession::private::call(
                    &self.0,
                    const {
                        &::procession::private::Signature {
                            idx: 0u32,
                            name: "sum",
                            value: |bytes| <u64 as ::procession::Wire>::decode(bytes),
                            error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                                bytes,
                            ),
                        }
                    },
                    ::procession::private::encoded(|out| {
                        <::procession::Receiver<
                            u64,
                        > as ::procession::Wire>::encode(
                            &::procession::private::feed(
                                &mut feeds,
                                numbers,
                                <u64 as ::procession::Wire>::encode,
                            )?,
                            out,
                        )?;
                        ::core::result::Result::Ok(())
                    }),
                )
                .feeding(feeds)
        }
        fn told(
            &self,
            name: &str,
            numbers: impl ::procession::private::Stream<
                Item = u64,
            > + ::core::marker::Send + 'static,
        ) -> ::procession::Call<u64, Error> {
            let mut feeds = ::procession::private::Feeds::new();
            ::procession::private::call(
                    &self.0,
                    const {
                        &::procession::private::Signature {
                            idx: 1u32,
                            name: "told",
                            value: |bytes| <u64 as ::procession::Wire>::decode(bytes),
                            error: |bytes| <Error as ::procession::private::Failure>::decode(
                                bytes,
                            ),
                        }
                    },
                    ::procession::private::encoded(|out| {
                        <::procession::private::Owned<
                            str,
                        > as ::procession::Wire>::encode(
                            &<str as ::std::borrow::ToOwned>::to_owned(name),
                            out,
                        )?;
                        <::procession::Receiver<
                            u64,
                        > as ::procession::Wire>::encode(
                            &::procession::private::feed(
                                &mut feeds,
                                numbers,
                                <u64 as ::procession::Wire>::encode,
                            )?,
                            out,
                        )?;
                        ::core::result::Result::Ok(())
                    }),
                )
                .feeding(feeds)
        }
        fn doubled(
            &self,
            numbers: impl ::procession::private::Stream<
                Item = Reader,
            > + ::core::marker::Send + 'static,
        ) -> ::procession::StreamCall<u64, ::procession::Never> {
            let mut feeds = ::procession::private::Feeds::new();
            ::procession::private::stream_call(
                    &self.0,
                    const {
                        &::procession::private::Signature {
                            idx: 2u32,
                            name: "doubled",
                            value: |bytes| <u64 as ::procession::Wire>::decode(bytes),
                            error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                                bytes,
                            ),
                        }
                    },
                    ::procession::private::encoded(|out| {
                        <::procession::Receiver<
                            Reader,
                        > as ::procession::Wire>::encode(
                            &::procession::private::feed(
                                &mut feeds,
                                numbers,
                                <Reader as ::procession::Wire>::encode,
                            )?,
                            out,
                        )?;
                        ::core::result::Result::Ok(())
                    }),
                )
                .feeding(feeds)
        }
        fn both(
            &self,
            a: impl ::procession::private::Stream<
                Item = u64,
            > + ::core::marker::Send + 'static,
            b: impl ::procession::private::Stream<
                Item = Vec<u8>,
            > + ::core::marker::Send + 'static,
        ) -> ::procession::StreamCall<u64, ::procession::Never> {
            let mut feeds = ::procession::private::Feeds::new();
            ::procession::private::stream_call(
                    &self.0,
                    const {
                        &::procession::private::Signature {
                            idx: 3u32,
                            name: "both",
                            value: |bytes| <u64 as ::procession::Wire>::decode(bytes),
                            error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                                bytes,
                            ),
                        }
                    },
                    ::procession::private::encoded(|out| {
                        <::procession::Receiver<
                            u64,
                        > as ::procession::Wire>::encode(
                            &::procession::private::feed(
                                &mut feeds,
                                a,
                                <u64 as ::procession::Wire>::encode,
                            )?,
                            out,
                        )?;
                        <::procession::Receiver<
                            Vec<u8>,
                        > as ::procession::Wire>::encode(
                            &::procession::private::feed(
                                &mut feeds,
                                b,
                                <Vec<u8> as ::procession::Wire>::encode,
                            )?,
                            out,
                        )?;
                        ::core::result::Result::Ok(())
                    }),
                )
                .feeding(feeds)
        }
    }
    #[automatically_derived]
    impl ::core::convert::From<::procession::ActorRef<__ReaderMarker>> for ReaderRef {
        fn from(actor: ::procession::ActorRef<__ReaderMarker>) -> Self {
            Self(actor)
        }
    }
    #[automatically_derived]
    impl ::core::ops::Deref for ReaderRef {
        type Target = ::procession::ActorRef<__ReaderMarker>;
        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }
    #[automatically_derived]
    impl ::procession::private::serde::Serialize for ReaderRef {
        fn serialize<S: ::procession::private::serde::Serializer>(
            &self,
            serializer: S,
        ) -> ::core::result::Result<S::Ok, S::Error> {
            ::procession::private::serde::Serialize::serialize(&self.0, serializer)
        }
    }
    #[automatically_derived]
    impl<'de> ::procession::private::serde::Deserialize<'de> for ReaderRef {
        fn deserialize<D: ::procession::private::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> ::core::result::Result<Self, D::Error> {
            ::procession::private::serde::Deserialize::deserialize(deserializer)
                .map(Self)
        }
    }
};
const _: () = {
    #[automatically_derived]
    impl ::procession::private::Marker for __ReaderMarker {
        fn row() -> &'static ::procession::private::Row {
            <Reader as ::procession::private::Actor>::row()
        }
    }
    #[automatically_derived]
    #[allow(unreachable_code)]
    impl ::procession::private::Actor for Reader {
        const METHODS: &'static [::procession::private::Method<Self>] = &[
            ::procession::private::Method {
                name: "sum",
                run: ::procession::private::Run::SharedAsync(|actor, call| ::std::boxed::Box::pin(async move {
                    match call
                        .decode(|bytes| <::procession::Receiver<
                            u64,
                        > as ::procession::Wire>::decode(bytes))
                    {
                        ::core::result::Result::Ok(arg0) => {
                            let mut broken = ::procession::private::Broken::new();
                            let arg0 = ::procession::private::Items::new(
                                arg0,
                                <u64 as ::procession::Wire>::decode,
                                &broken,
                            );
                            let value = match broken
                                .around(async { Self::sum(actor, arg0).await })
                                .await
                            {
                                ::core::result::Result::Ok(error) => error,
                                ::core::result::Result::Err(error) => {
                                    return ::procession::private::Outcome::Fault(error);
                                }
                            };
                            call.value(|out| <u64 as ::procession::Wire>::encode(
                                &value,
                                out,
                            ))
                        }
                        ::core::result::Result::Err(error) => {
                            ::procession::private::Outcome::Fault(error)
                        }
                    }
                })),
            },
            ::procession::private::Method {
                name: "told",
                run: ::procession::private::Run::ExclusiveAsync(|actor, call| ::std::boxed::Box::pin(async move {
                    match call
                        .decode(|bytes| ::core::result::Result::Ok((
                            <::procession::private::Owned<
                                str,
                            > as ::procession::Wire>::decode(bytes)?,
                            <::procession::Receiver<
                                u64,
                            > as ::procession::Wire>::decode(bytes)?,
                        )))
                    {
                        ::core::result::Result::Ok((arg0, arg1)) => {
                            match Self::told(
                                    actor,
                                    ::procession::private::lend::<str>(&arg0),
                                    arg1,
                                )
                                .await
                            {
                                ::core::result::Result::Ok(value) => {
                                    call.value(|out| <u64 as ::procession::Wire>::encode(
                                        &value,
                                        out,
                                    ))
                                }
                                ::core::result::Result::Err(value) => {
                                    call.failed(|out| <Error as ::procession::private::Failure>::encode(
                                        &value,
                                        out,
                                    ))
                                }
                            }
                        }
                        ::core::result::Result::Err(error) => {
                            ::procession::private::Outcome::Fault(error)
                        }
                    }
                })),
            },
            ::procession::private::Method {
                name: "doubled",
                run: ::procession::private::Run::Shared(|actor, call| match call
                    .decode(|bytes| <::procession::Receiver<
                        Reader,
                    > as ::procession::Wire>::decode(bytes))
                {
                    ::core::result::Result::Ok(arg0) => {
                        let value = Self::doubled(actor, arg0);
                        ::procession::private::Outcome::stream(
                            value,
                            |item, out| <u64 as ::procession::Wire>::encode(item, out),
                        )
                    }
                    ::core::result::Result::Err(error) => {
                        ::procession::private::Outcome::Fault(error)
                    }
                }),
            },
            ::procession::private::Method {
                name: "both",
                run: ::procession::private::Run::SharedAsync(|actor, call| ::std::boxed::Box::pin(async move {
                    match call
                        .decode(|bytes| ::core::result::Result::Ok((
                            <::procession::Receiver<
                                u64,
                            > as ::procession::Wire>::decode(bytes)?,
                            <::procession::Receiver<
                                Vec<u8>,
                            > as ::procession::Wire>::decode(bytes)?,
                        )))
                    {
                        ::core::result::Result::Ok((arg0, arg1)) => {
                            let mut broken = ::procession::private::Broken::new();
                            let arg0 = ::procession::private::Items::new(
                                arg0,
                                <u64 as ::procession::Wire>::decode,
                                &broken,
                            );
                            let arg1 = ::procession::private::Items::new(
                                arg1,
                                <Vec<u8> as ::procession::Wire>::decode,
                                &broken,
                            );
                            let value = match broken
                                .around(async { Self::both(actor, arg0, arg1).await })
                                .await
                            {
                                ::core::result::Result::Ok(error) => error,
                                ::core::result::Result::Err(error) => {
                                    return ::procession::private::Outcome::Fault(error);
                                }
                            };
                            ::procession::private::Outcome::stream_of(
                                broken,
                                value,
                                |item, out| <u64 as ::procession::Wire>::encode(item, out),
                            )
                        }
                        ::core::result::Result::Err(error) => {
                            ::procession::private::Outcome::Fault(error)
                        }
                    }
                })),
            },
        ];
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::actor::<
                Reader,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "Reader",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 5577598851483063321u64,
            });
            &ROW
        }
        async fn init(
            arguments: ::procession::private::Payload,
        ) -> ::core::result::Result<
            ::core::result::Result<Self, ::std::string::String>,
            ::procession::Error,
        > {
            let () = ::procession::private::decoded(
                arguments,
                |_| ::core::result::Result::Ok(()),
            )?;
            ::core::result::Result::Ok(
                ::core::result::Result::Ok(
                    <Reader as ::procession::private::Begin>::begin(),
                ),
            )
        }
    }
};
