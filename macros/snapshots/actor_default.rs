impl Counter {
    fn total(&self) -> u64 {
        0
    }
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
pub struct CounterRef(crate::procession::ActorRef<__CounterMarker>);
#[doc(hidden)]
#[allow(unreachable_pub)]
#[derive(::core::fmt::Debug)]
pub enum __CounterMarker {}
const _: () = {
    #[allow(dead_code, private_interfaces, unreachable_pub)]
    impl Counter {
        ///How to start a `Counter`, and what to do when it ends.
        pub fn spec() -> crate::procession::Spec<CounterRef> {
            crate::procession::private::actor_spec::<
                Self,
                CounterRef,
            >(
                crate::procession::private::encoded(|_| {
                    ::core::result::Result::Ok(())
                }),
            )
        }
        ///Starts a `Counter` in a process of its own.
        pub fn spawn() -> impl ::core::future::Future<
            Output = crate::procession::Result<CounterRef>,
        > + ::core::marker::Send + use<> {
            Self::spec().spawn()
        }
    }
    #[allow(dead_code, private_interfaces, unreachable_pub)]
    impl CounterRef {
        /// The actor of that name, found when it is called.
        pub fn named(name: impl ::core::convert::Into<::std::string::String>) -> Self {
            Self(crate::procession::ActorRef::named(name))
        }
        /// The living actor of that name, or an error where there is none.
        pub async fn lookup(name: &str) -> crate::procession::Result<Self> {
            crate::procession::ActorRef::lookup(name).await.map(Self)
        }
        fn total(&self) -> crate::procession::Call<u64, crate::procession::Never> {
            crate::procession::private::call(
                &self.0,
                const {
                    &crate::procession::private::Signature {
                        idx: 0u32,
                        name: "total",
                        value: |bytes| <u64 as crate::procession::Wire>::decode(bytes),
                        error: |bytes| <crate::procession::Never as crate::procession::private::Failure>::decode(
                            bytes,
                        ),
                    }
                },
                crate::procession::private::encoded(|_| {
                    ::core::result::Result::Ok(())
                }),
            )
        }
    }
    #[automatically_derived]
    impl ::core::convert::From<crate::procession::ActorRef<__CounterMarker>>
    for CounterRef {
        fn from(actor: crate::procession::ActorRef<__CounterMarker>) -> Self {
            Self(actor)
        }
    }
    #[automatically_derived]
    impl ::core::ops::Deref for CounterRef {
        type Target = crate::procession::ActorRef<__CounterMarker>;
        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }
    #[automatically_derived]
    impl crate::procession::private::serde::Serialize for CounterRef {
        fn serialize<S: crate::procession::private::serde::Serializer>(
            &self,
            serializer: S,
        ) -> ::core::result::Result<S::Ok, S::Error> {
            crate::procession::private::serde::Serialize::serialize(&self.0, serializer)
        }
    }
    #[automatically_derived]
    impl<'de> crate::procession::private::serde::Deserialize<'de> for CounterRef {
        fn deserialize<D: crate::procession::private::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> ::core::result::Result<Self, D::Error> {
            crate::procession::private::serde::Deserialize::deserialize(deserializer)
                .map(Self)
        }
    }
};
const _: () = {
    #[automatically_derived]
    impl crate::procession::private::Marker for __CounterMarker {
        fn row() -> &'static crate::procession::private::Row {
            <Counter as crate::procession::private::Actor>::row()
        }
    }
    #[automatically_derived]
    #[allow(unreachable_code)]
    impl crate::procession::private::Actor for Counter {
        const METHODS: &'static [crate::procession::private::Method<Self>] = &[
            crate::procession::private::Method {
                name: "total",
                run: crate::procession::private::Run::Shared(|actor, call| match call
                    .decode(|_| ::core::result::Result::Ok(()))
                {
                    ::core::result::Result::Ok(()) => {
                        let value = Self::total(actor);
                        call.value(|out| <u64 as crate::procession::Wire>::encode(
                            &value,
                            out,
                        ))
                    }
                    ::core::result::Result::Err(error) => {
                        crate::procession::private::Outcome::Fault(error)
                    }
                }),
            },
        ];
        fn row() -> &'static crate::procession::private::Row {
            #[crate::procession::private::linkme::distributed_slice(
                crate::procession::private::ROWS
            )]
            #[linkme(crate = crate::procession::private::linkme)]
            static ROW: crate::procession::private::Row = crate::procession::private::Row::actor::<
                Counter,
            >(crate::procession::private::Key {
                module: ::core::module_path!(),
                name: "Counter",
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: 6480340276554262452u64,
            });
            &ROW
        }
        async fn init(
            arguments: crate::procession::private::Payload,
        ) -> ::core::result::Result<
            ::core::result::Result<Self, ::std::string::String>,
            crate::procession::Error,
        > {
            let () = crate::procession::private::decoded(
                arguments,
                |_| ::core::result::Result::Ok(()),
            )?;
            ::core::result::Result::Ok(
                ::core::result::Result::Ok(
                    <Counter as crate::procession::private::Begin>::begin(),
                ),
            )
        }
    }
};
