//! The ref of an actor, and the functions on the type that start it.
//!
//! A method of the ref encodes its arguments at once, so that the call it returns owns them.

use super::check::{Actor, Init, MADE_ON_REF, Method};
use crate::argument::{self, Argument};
use crate::attributes;
use crate::travel::Root;
use crate::unit::local;
use proc_macro2::TokenStream;
use quote::quote;
use syn::FnArg;
use syn::ext::IdentExt;

pub(super) fn expand(actor: &Actor) -> TokenStream {
    let (handle, implement, starters, methods) =
        (handle(actor), implement(actor), starters(actor), methods(actor));
    let cfgs = &actor.cfgs;
    quote! {
        #handle

        #(#cfgs)*
        const _: () = {
            #starters
            #methods
            #implement
        };
    }
}

/// The type of the ref and the hidden name of the actor in it: the actor itself may be private, the ref is not.
fn handle(actor: &Actor) -> TokenStream {
    let Actor {
        root,
        name,
        handle,
        marker,
        cfgs,
        ..
    } = actor;
    let Root { root, .. } = root;
    let about = format!(
        "A handle to a `{}` in a process of its own. Dropping it, or the last of its clones, stops nothing.",
        name.unraw()
    );
    quote! {
        #(#cfgs)*
        #[doc = #about]
        // A program need not use all of a ref, and a private actor has one as well. Here and below.
        #[allow(dead_code, unreachable_pub)]
        #[derive(
            ::core::clone::Clone,
            ::core::fmt::Debug,
            ::core::cmp::PartialEq,
            ::core::cmp::Eq,
            ::core::hash::Hash,
        )]
        pub struct #handle(#root::ActorRef<#marker>);

        #(#cfgs)*
        #[doc(hidden)]
        #[allow(unreachable_pub)]
        #[derive(::core::fmt::Debug)]
        pub enum #marker {}
    }
}

/// `spawn` and `spec`, with the arguments and the visibility of `#[init]`.
fn starters(actor: &Actor) -> TokenStream {
    let Actor {
        root: paths,
        ty,
        name,
        handle,
        init,
        mailbox,
        ..
    } = actor;
    let Root { root, private, .. } = paths;
    let mailbox = mailbox.as_ref().map(|mailbox| mailbox.expand(root));
    let arguments = init.as_ref().map_or(&[][..], |init| &init.arguments);
    let vis = match init {
        Some(Init { function, .. }) => {
            let vis = &function.vis;
            quote!(#vis)
        }
        None => quote!(pub),
    };
    let (shown, given) = argument::shown(arguments, paths);
    let encoded = encoded(arguments, paths);
    let spec = (!actor.taken.iter().any(|name| name == "spec")).then(|| {
        let about = format!("How to start a `{}`, and what to do when it ends.", name.unraw());
        quote! {
            #[doc = #about]
            #vis fn spec(#(#shown),*) -> #root::Spec<#handle> {
                #private::actor_spec::<Self, #handle>(#encoded) #mailbox
            }
        }
    });
    let spawn = actor.taken.is_empty().then(|| {
        let about = format!("Starts a `{}` in a process of its own.", name.unraw());
        quote! {
            #[doc = #about]
            #vis fn spawn(
                #(#shown),*
            ) -> impl ::core::future::Future<Output = #root::Result<#handle>> + ::core::marker::Send + use<> {
                Self::spec(#(#given),*).spawn()
            }
        }
    });
    quote! {
        #[allow(dead_code, private_interfaces, unreachable_pub)]
        impl #ty {
            #spec
            #spawn
        }
    }
}

/// The arguments as bytes, or why they cannot be.
fn encoded(arguments: &[Argument], root: &Root) -> TokenStream {
    let Root { private, .. } = root;
    let out = local("out");
    let encode = argument::give(arguments, root, &quote!(#out));
    let out = match arguments.is_empty() {
        true => quote!(_),
        false => quote!(#out),
    };
    quote! {
        #private::encoded(|#out| {
            #encode
            ::core::result::Result::Ok(())
        })
    }
}

/// The methods of the ref, with the names, arguments, documentation and visibility of the actor's.
fn methods(actor: &Actor) -> TokenStream {
    let Actor {
        root: paths, handle, ..
    } = actor;
    let Root { root, .. } = paths;
    let free = |method: &Method| !MADE_ON_REF.iter().any(|name| method.function.sig.ident == name);
    let methods = actor
        .methods
        .iter()
        .enumerate()
        .filter(|(_, method)| free(method));
    let methods = methods.map(|(idx, method)| {
        let earlier = actor.methods[..idx]
            .iter()
            .map(|method| &method.function.attrs[..]);
        match method.is_broken {
            false => remote(method, &attributes::count(earlier), paths),
            true => broken(method, paths),
        }
    });
    quote! {
        #[allow(dead_code, private_interfaces, unreachable_pub)]
        impl #handle {
            /// The actor of that name, found when it is called.
            pub fn named(name: impl ::core::convert::Into<::std::string::String>) -> Self {
                Self(#root::ActorRef::named(name))
            }

            /// The living actor of that name, or an error where there is none.
            pub async fn lookup(name: &str) -> #root::Result<Self> {
                #root::ActorRef::lookup(name).await.map(Self)
            }

            #(#methods)*
        }
    }
}

fn remote(method: &Method, idx: &TokenStream, paths: &Root) -> TokenStream {
    let Root { root, private, .. } = paths;
    let Method {
        function,
        arguments,
        output,
        retries,
        ..
    } = method;
    let idempotent = (*retries > 0).then(|| quote!(.idempotent(#retries)));
    let (vis, name) = (&function.vis, &function.sig.ident);
    let text = name.unraw().to_string();
    let (cfgs, described) = (
        attributes::cfgs(&function.attrs),
        attributes::described(&function.attrs),
    );
    let (shown, _) = argument::shown(arguments, paths);
    let (feeds, takes_streams) = (
        local("feeds"),
        arguments.iter().any(|argument| argument.stream.is_some()),
    );
    let made = takes_streams.then(|| quote!(let mut #feeds = #private::Feeds::new();));
    let feeding = takes_streams.then(|| quote!(.feeding(#feeds)));
    let encoded = encoded(arguments, paths);
    let (value, error) = (output.value(paths), output.error(paths));
    let (value_ty, error_ty) = (&value.ty, &error.ty);
    let (call, make) = match method.streams {
        true => (quote!(StreamCall), quote!(stream_call)),
        false => (quote!(Call), quote!(call)),
    };
    let bytes = local("bytes");
    let [decode_value, decode_error] = [&value, &error].map(|travel| travel.decode(paths, &quote!(#bytes)));
    quote! {
        #(#cfgs)*
        #(#described)*
        #vis fn #name(&self #(, #shown)*) -> #root::#call<#value_ty, #error_ty> {
            #made
            #private::#make(
                &self.0,
                const {
                    &#private::Signature {
                        idx: #idx,
                        name: #text,
                        value: |#bytes| #decode_value,
                        error: |#bytes| #decode_error,
                    }
                },
                #encoded,
            )
            #idempotent
            #feeding
        }
    }
}

/// A method in whose signature is a fault: it can be named and called, so that nothing else is reported.
fn broken(method: &Method, paths: &Root) -> TokenStream {
    let root = &paths.root;
    let Method { function, output, .. } = method;
    let (vis, name, generics) = (&function.vis, &function.sig.ident, &function.sig.generics);
    let clause = &generics.where_clause;
    let types = function.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(&typed.ty),
        FnArg::Receiver(_) => None,
    });
    let (value, error) = (output.value(paths).ty, output.error(paths).ty);
    let call = match method.streams {
        true => quote!(StreamCall),
        false => quote!(Call),
    };
    quote! {
        #vis fn #name #generics (&self #(, _: #types)*) -> #root::#call<#value, #error> #clause {
            ::core::unreachable!()
        }
    }
}

/// What makes the ref a ref: it travels, and what the library has for all refs stands behind its deref.
fn implement(actor: &Actor) -> TokenStream {
    let Actor {
        root, handle, marker, ..
    } = actor;
    let Root { root, private, .. } = root;
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<#root::ActorRef<#marker>> for #handle {
            fn from(actor: #root::ActorRef<#marker>) -> Self {
                Self(actor)
            }
        }

        #[automatically_derived]
        impl ::core::ops::Deref for #handle {
            type Target = #root::ActorRef<#marker>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        #[automatically_derived]
        impl #private::serde::Serialize for #handle {
            fn serialize<S: #private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                #private::serde::Serialize::serialize(&self.0, serializer)
            }
        }

        #[automatically_derived]
        impl<'de> #private::serde::Deserialize<'de> for #handle {
            fn deserialize<D: #private::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                #private::serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    }
}
