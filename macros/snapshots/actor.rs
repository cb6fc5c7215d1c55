impl Counter {
    const STEP: u64 = 1;
    pub async fn new(start: u64, name: &str) -> procession::Result<Self> {
        Ok(Counter { total: start })
    }
    /// Adds.
    pub async fn add(&mut self, mut n: u64) -> u64 {
        n
    }
    fn take(&mut self, n: u64) -> Result<u64, Overdrawn> {
        Ok(n)
    }
    #[cfg(unix)]
    fn pid(&self) -> u32 {
        std::process::id()
    }
    async fn other(&self, other: Self) -> Option<Self> {
        None
    }
    fn upto(&self, n: u64) -> impl Stream<Item = u64> + use<> {
        stream::iter(0..n)
    }
    async fn lines(&mut self) -> Result<impl Stream<Item = Vec<u8>> + use<>, String> {
        Ok(stream::empty())
    }
    fn crash(&self) -> ! {
        panic!()
    }
    fn into_total(self) -> u64 {
        self.total
    }
    async fn farewell(&mut self, reason: &ExitReason) {}
}
///A handle to a `Counter` in a process of its own. Dropping it, or the last of its clones, stops nothing.
#[allow(dead_code, unreachable_pub)]
#[derive(
    ::core::clone::Clone,
    ::core::fmt::Debug,
    ::core::cmp::PartialEq,
    ::core::cmp::Eq,
    ::core::hash::Hash,
)]
pub struct CounterRef(::procession::ActorRef<__CounterMarker>);
#[doc(hidden)]
#[allow(unreachable_pub)]
#[derive(::core::fmt::Debug)]
pub enum __CounterMarker {}
const _: () = {
    #[allow(dead_code, private_interfaces, unreachable_pub)]
    impl Counter {
        ///How to start a `Counter`, and what to do when it ends.
        pub fn spec(start: u64, name: &str) -> ::procession::Spec<CounterRef> {
            ::procession::private::actor_spec::<
                Self,
                CounterRef,
            >(
                ::procession::private::encoded(|out| {
                    <u64 as ::procession::Wire>::encode(&start, out)?;
                    <::procession::private::Owned<
                        str,
                    > as ::procession::Wire>::encode(
                        &<str as ::std::borrow::ToOwned>::to_owned(name),
                        out,
                    )?;
                    ::core::result::Result::Ok(())
                }),
            )
        }
        ///Starts a `Counter` in a process of its own.
        pub fn spawn(
            start: u64,
            name: &str,
        ) -> impl ::core::future::Future<
            Output = ::procession::Result<CounterRef>,
        > + ::core::marker::Send + use<> {
            Self::spec(start, name).spawn()
        }
    }
    #[allow(dead_code, private_interfaces, unreachable_pub)]
    impl CounterRef {
        /// The actor of that name, found when it is called.
        pub fn named(name: impl ::core::convert::Into<::std::string::String>) -> Self {
            Self(::procession::ActorRef::named(name))
        }
        /// The living actor of that name, or an error where there is none.
        pub async fn lookup(name: &str) -> ::procession::Result<Self> {
            ::procession::ActorRef::lookup(name).await.map(Self)
        }
        /// Adds.
        pub fn add(&self, n: u64) -> ::procession::Call<u64, ::procession::Never> {
            ::procession::private::call(
                &self.0,
                const {
                    &::procession::private::Signature {
                        idx: 0u32,
                        name: "add",
                        value: |bytes| <u64 as ::procession::Wire>::decode(bytes),
                        error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                ::procession::private::encoded(|out| {
                    <u64 as ::procession::Wire>::encode(&n, out)?;
                    ::core::result::Result::Ok(())
                }),
            )
        }
        fn take(&self, n: u64) -> ::procession::Call<u64, Overdrawn> {
            ::procession::private::call(
                &self.0,
                const {
                    &::procession::private::Signature {
                        idx: 1u32,
                        name: "take",
                        value: |bytes| <u64 as ::procession::Wire>::decode(bytes),
                        error: |bytes| <Overdrawn as ::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                ::procession::private::encoded(|out| {
                    <u64 as ::procession::Wire>::encode(&n, out)?;
                    ::core::result::Result::Ok(())
                }),
            )
        }
        #[cfg(unix)]
        fn pid(&self) -> ::procession::Call<u32, ::procession::Never> {
            ::procession::private::call(
                &self.0,
                const {
                    &::procession::private::Signature {
                        idx: 2u32,
                        name: "pid",
                        value: |bytes| <u32 as ::procession::Wire>::decode(bytes),
                        error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                ::procession::private::encoded(|_| { ::core::result::Result::Ok(()) }),
            )
        }
        fn other(
            &self,
            other: Counter,
        ) -> ::procession::Call<Option<Counter>, ::procession::Never> {
            ::procession::private::call(
                &self.0,
                const {
                    &::procession::private::Signature {
                        idx: 2u32 + ::core::cfg!(all(unix)) as u32,
                        name: "other",
                        value: |bytes| <Option<
                            Counter,
                        > as ::procession::Wire>::decode(bytes),
                        error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                ::procession::private::encoded(|out| {
                    <Counter as ::procession::Wire>::encode(&other, out)?;
                    ::core::result::Result::Ok(())
                }),
            )
        }
        fn upto(&self, n: u64) -> ::procession::StreamCall<u64, ::procession::Never> {
            ::procession::private::stream_call(
                &self.0,
                const {
                    &::procession::private::Signature {
                        idx: 3u32 + ::core::cfg!(all(unix)) as u32,
                        name: "upto",
                        value: |bytes| <u64 as ::procession::Wire>::decode(bytes),
                        error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                ::procession::private::encoded(|out| {
                    <u64 as ::procession::Wire>::encode(&n, out)?;
                    ::core::result::Result::Ok(())
                }),
            )
        }
        fn lines(&self) -> ::procession::StreamCall<Vec<u8>, String> {
            ::procession::private::stream_call(
                &self.0,
                const {
                    &::procession::private::Signature {
                        idx: 4u32 + ::core::cfg!(all(unix)) as u32,
                        name: "lines",
                        value: |bytes| <Vec<
                            u8,
                        > as ::procession::private::Blob>::decode(bytes),
                        error: |bytes| <String as ::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                ::procession::private::encoded(|_| { ::core::result::Result::Ok(()) }),
            )
        }
        fn crash(&self) -> ::procession::Call<::procession::Never, ::procession::Never> {
            ::procession::private::call(
                &self.0,
                const {
                    &::procession::private::Signature {
                        idx: 5u32 + ::core::cfg!(all(unix)) as u32,
                        name: "crash",
                        value: |bytes| <::procession::Never as ::procession::Wire>::decode(
                            bytes,
                        ),
                        error: |bytes| <::procession::Never as ::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                ::procession::private::encoded(|_| { ::core::result::Result::Ok(()) }),
            )
        }
    }
    #[automatically_derived]
    impl ::core::convert::From<::procession::ActorRef<__CounterMarker>> for CounterRef {
        fn from(actor: ::procession::ActorRef<__CounterMarker>) -> Self {
            Self(actor)
        }
    }
    #[automatically_derived]
    impl ::core::ops::Deref for CounterRef {
        type Target = ::procession::ActorRef<__CounterMarker>;
        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }
    #[automatically_derived]
    impl ::procession::private::serde::Serialize for CounterRef {
        fn serialize<S: ::procession::private::serde::Serializer>(
            &self,
            serializer: S,
        ) -> ::core::result::Result<S::Ok, S::Error> {
            ::procession::private::serde::Serialize::serialize(&self.0, serializer)
        }
    }
    #[automatically_derived]
    impl<'de> ::procession::private::serde::Deserialize<'de> for CounterRef {
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
    impl ::procession::private::Marker for __CounterMarker {
        fn row() -> &'static ::procession::private::Row {
            <Counter as ::procession::private::Actor>::row()
        }
    }
    #[automatically_derived]
    #[allow(unreachable_code)]
    impl ::procession::private::Actor for Counter {
        const METHODS: &'static [::procession::private::Method<Self>] = &[
            ::procession::private::Method {
                name: "add",
                run: ::procession::private::Run::ExclusiveAsync(|actor, call| ::std::boxed::Box::pin(async move {
                    match call.decode(|bytes| <u64 as ::procession::Wire>::decode(bytes))
                    {
                        ::core::result::Result::Ok(arg0) => {
                            let value = Self::add(actor, arg0).await;
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
                name: "take",
                run: ::procession::private::Run::Exclusive(|actor, call| match call
                    .decode(|bytes| <u64 as ::procession::Wire>::decode(bytes))
                {
                    ::core::result::Result::Ok(arg0) => {
                        match Self::take(actor, arg0) {
                            ::core::result::Result::Ok(value) => {
                                call.value(|out| <u64 as ::procession::Wire>::encode(
                                    &value,
                                    out,
                                ))
                            }
                            ::core::result::Result::Err(value) => {
                                call.failed(|out| <Overdrawn as ::procession::private::Failure>::encode(
                                    &value,
                                    out,
                                ))
                            }
                        }
                    }
                    ::core::result::Result::Err(error) => {
                        ::procession::private::Outcome::Fault(error)
                    }
                }),
            },
            #[cfg(unix)]
            ::procession::private::Method {
                name: "pid",
                run: ::procession::private::Run::Shared(|actor, call| match call
                    .decode(|_| ::core::result::Result::Ok(()))
                {
                    ::core::result::Result::Ok(()) => {
                        let value = Self::pid(actor);
                        call.value(|out| <u32 as ::procession::Wire>::encode(
                            &value,
                            out,
                        ))
                    }
                    ::core::result::Result::Err(error) => {
                        ::procession::private::Outcome::Fault(error)
                    }
                }),
            },
            ::procession::private::Method {
                name: "other",
                run: ::procession::private::Run::SharedAsync(|actor, call| ::std::boxed::Box::pin(async move {
                    match call
                        .decode(|bytes| <Counter as ::procession::Wire>::decode(bytes))
                    {
                        ::core::result::Result::Ok(arg0) => {
                            let value = Self::other(actor, arg0).await;
                            call.value(|out| <Option<
                                Counter,
                            > as ::procession::Wire>::encode(&value, out))
                        }
                        ::core::result::Result::Err(error) => {
                            ::procession::private::Outcome::Fault(error)
                        }
                    }
                })),
            },
            ::procession::private::Method {
                name: "upto",
                run: ::procession::private::Run::Shared(|actor, call| match call
                    .decode(|bytes| <u64 as ::procession::Wire>::decode(bytes))
                {
                    ::core::result::Result::Ok(arg0) => {
                        let value = Self::upto(actor, arg0);
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
                name: "lines",
                run: ::procession::private::Run::ExclusiveAsync(|actor, call| ::std::boxed::Box::pin(async move {
                    match call.decode(|_| ::core::result::Result::Ok(())) {
                        ::core::result::Result::Ok(()) => {
                            match Self::lines(actor).await {
                                ::core::result::Result::Ok(value) => {
                                    ::procession::private::Outcome::stream(
                                        value,
                                        |item, out| <Vec<
                                            u8,
                                        > as ::procession::private::Blob>::encode(item, out),
                                    )
                                }
                                ::core::result::Result::Err(value) => {
                                    call.failed(|out| <String as ::procession::private::Failure>::encode(
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
                name: "crash",
                run: ::procession::private::Run::Shared(|actor, call| match call
                    .decode(|_| ::core::result::Result::Ok(()))
                {
                    ::core::result::Result::Ok(()) => match Self::crash(actor) {}
                    ::core::result::Result::Err(error) => {
                        ::procession::private::Outcome::Fault(error)
                    }
                }),
            },
        ];
        fn row() -> &'static ::procession::private::Row {
            #[::procession::private::linkme::distributed_slice(
                ::procession::private::ROWS
            )]
            #[linkme(crate = ::procession::private::linkme)]
            static ROW: ::procession::private::Row = ::procession::private::Row::actor::<
                Counter,
            >(::procession::private::Key {
                module: ::core::module_path!(),
                name: "Counter",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 16112418976188729815u64,
            });
            &ROW
        }
        async fn init(
            arguments: ::procession::private::Payload,
        ) -> ::core::result::Result<
            ::core::result::Result<Self, ::std::string::String>,
            ::procession::Error,
        > {
            let (arg0, arg1) = ::procession::private::decoded(
                arguments,
                |bytes| ::core::result::Result::Ok((
                    <u64 as ::procession::Wire>::decode(bytes)?,
                    <::procession::private::Owned<
                        str,
                    > as ::procession::Wire>::decode(bytes)?,
                )),
            )?;
            ::core::result::Result::Ok(
                Self::new(arg0, ::procession::private::lend::<str>(&arg1))
                    .await
                    .map_err(|error| ::std::format!("{error:#}")),
            )
        }
        async fn terminate(&mut self, reason: &::procession::ExitReason) {
            Self::farewell(self, reason).await;
        }
    }
};
