//! The process's side of an actor: how it begins and ends, and a table of what to run for each method.

use super::check::{Actor, Init, Method, Terminate};
use crate::argument;
use crate::attributes;
use crate::output::{Output, Shape};
use crate::travel::Root;
use crate::types;
use crate::unit::{self, local};
use proc_macro2::{Ident, TokenStream};
use quote::quote;

pub(super) fn expand(actor: &Actor) -> TokenStream {
    let Actor {
        root: paths,
        ty,
        marker,
        cfgs,
        ..
    } = actor;
    let Root { private, .. } = paths;
    let row = unit::row(
        paths,
        &actor.name,
        &quote!(actor),
        &quote!(#ty),
        &types::fingerprint(signature(actor)),
    );
    let (init, terminate) = (init(actor), terminate(actor));
    let methods = actor.methods.iter().filter(|method| !method.is_broken);
    let methods = methods.map(|method| entry(method, paths));
    let deprecated: Vec<_> = actor
        .methods
        .iter()
        .filter_map(|method| attributes::allow_deprecated(&method.function.attrs))
        .take(1)
        .collect();
    quote! {
        #(#cfgs)*
        const _: () = {
            #[automatically_derived]
            impl #private::Marker for #marker {
                fn row() -> &'static #private::Row {
                    <#ty as #private::Actor>::row()
                }
            }

            #[automatically_derived]
            #(#deprecated)*
            #[allow(unreachable_code)]
            impl #private::Actor for #ty {
                const METHODS: &'static [#private::Method<Self>] = &[#(#methods),*];

                #row
                #init
                #terminate
            }
        };
    }
}

/// What two builds have to agree on: each method's name and types, in order, and those of `#[init]`.
fn signature(actor: &Actor) -> TokenStream {
    let init = actor
        .init
        .iter()
        .flat_map(|init| &init.arguments)
        .map(|argument| &argument.ty);
    let methods = actor.methods.iter().map(|method| {
        let (name, output, exclusive) = (&method.function.sig.ident, &method.output.ty, method.is_exclusive);
        let types = method.arguments.iter().map(|argument| &argument.ty);
        let stream = method.streams.then(|| quote!(stream));
        quote!(fn #name(#exclusive #(, #types)*) -> #stream #output;)
    });
    let codec = actor.root.codec.signature();
    quote!(init(#(#init),*); #(#methods)* #codec)
}

/// `init`: what begins each incarnation.
fn init(actor: &Actor) -> TokenStream {
    let Root { root, private, .. } = &actor.root;
    let ty = &actor.ty;
    let (bytes, arguments) = (local("bytes"), local("arguments"));
    let given = actor.init.as_ref().map_or(&[][..], |init| &init.arguments);
    let names = argument::names(given);
    let made = match &actor.init {
        Some(init) => made(init, &actor.root),
        None => {
            let begin = types::at(ty, quote!(<#ty as #private::Begin>::begin));
            quote!(::core::result::Result::Ok(#begin()))
        }
    };
    let decode = argument::decode(given, &actor.root, &quote!(#bytes));
    let unused = match given.is_empty() {
        true => quote!(_),
        false => quote!(#bytes),
    };
    quote! {
        async fn init(
            #arguments: #private::Payload,
        ) -> ::core::result::Result<::core::result::Result<Self, ::std::string::String>, #root::Error> {
            let #names = #private::decoded(#arguments, |#unused| #decode)?;
            ::core::result::Result::Ok(#made)
        }
    }
}

/// The actor that `#[init]` makes, or the text of its error.
fn made(
    Init {
        function,
        arguments,
        is_fallible,
        is_broken,
    }: &Init,
    paths: &Root,
) -> TokenStream {
    let name = &function.sig.ident;
    let lent = arguments.iter().map(|argument| {
        let hidden = &argument.hidden;
        argument.lend(paths, &quote!(#hidden))
    });
    let dot_await = function.is_async().then(|| quote!(.await));
    if *is_broken {
        return quote!(::core::unreachable!());
    }
    match is_fallible {
        false => quote!(::core::result::Result::Ok(Self::#name(#(#lent),*) #dot_await)),
        true => quote! {
            Self::#name(#(#lent),*) #dot_await.map_err(|error| ::std::format!("{error:#}"))
        },
    }
}

/// `terminate`, where the user wrote one.
fn terminate(actor: &Actor) -> Option<TokenStream> {
    let Terminate {
        function,
        takes_reason,
    } = actor.terminate.as_ref()?;
    let Root { root, .. } = &actor.root;
    let (name, reason) = (&function.sig.ident, local("reason"));
    let dot_await = function.is_async().then(|| quote!(.await));
    let (parameter, argument) = match takes_reason {
        true => (quote!(#reason), quote!(, #reason)),
        false => (quote!(_), quote!()),
    };
    Some(quote! {
        async fn terminate(&mut self, #parameter: &#root::ExitReason) {
            Self::#name(self #argument) #dot_await;
        }
    })
}

/// One method in the table: decode, run, encode.
fn entry(method: &Method, paths: &Root) -> TokenStream {
    let Root { private, .. } = paths;
    let Method {
        function,
        arguments,
        output,
        ..
    } = method;
    let (actor, call, bytes, error) = (local("actor"), local("call"), local("bytes"), local("error"));
    let name = &function.sig.ident;
    let text = syn::ext::IdentExt::unraw(name).to_string();
    let cfgs = attributes::cfgs(&function.attrs);
    let names = argument::names(arguments);
    let decode = argument::decode(arguments, paths, &quote!(#bytes));
    let lent = arguments.iter().map(|argument| {
        let hidden = &argument.hidden;
        argument.lend(paths, &quote!(#hidden))
    });
    let dot_await = function.is_async().then(|| quote!(.await));
    let run = quote!(Self::#name(#actor #(, #lent)*) #dot_await);
    let broken = local("broken");
    let plain: Vec<_> = arguments
        .iter()
        .filter_map(|argument| argument.plain(&broken, paths))
        .collect();
    let broken = (!plain.is_empty()).then_some(broken);
    let heard = broken.as_ref().map(|broken| {
        let mutable = function.is_async().then(|| quote!(mut));
        quote! {
            let #mutable #broken = #private::Broken::new();
            #(#plain)*
        }
    });
    let run = match &broken {
        Some(broken) if function.is_async() => quote! {
            match #broken.around(async { #run }).await {
                ::core::result::Result::Ok(#error) => #error,
                ::core::result::Result::Err(#error) => return #private::Outcome::Fault(#error),
            }
        },
        _ => run,
    };
    let outcome = match method.streams {
        true => streamed(output, &run, &call, broken.as_ref(), paths),
        false => outcome(output, &run, &call, paths),
    };
    let unused = match arguments.is_empty() {
        true => quote!(_),
        false => quote!(#bytes),
    };
    let run = quote! {
        match #call.decode(|#unused| #decode) {
            ::core::result::Result::Ok(#names) => {
                #heard
                #outcome
            }
            ::core::result::Result::Err(#error) => #private::Outcome::Fault(#error),
        }
    };
    let (kind, run) = match (method.is_exclusive, function.is_async()) {
        (false, false) => (quote!(Shared), run),
        (true, false) => (quote!(Exclusive), run),
        (false, true) => (
            quote!(SharedAsync),
            quote!(::std::boxed::Box::pin(async move { #run })),
        ),
        (true, true) => (
            quote!(ExclusiveAsync),
            quote!(::std::boxed::Box::pin(async move { #run })),
        ),
    };
    quote! {
        #(#cfgs)*
        #private::Method {
            name: #text,
            run: #private::Run::#kind(|#actor, #call| #run),
        }
    }
}

/// What is sent back for the stream `run`, or for its error.
fn streamed(
    output: &Output,
    run: &TokenStream,
    call: &Ident,
    broken: Option<&Ident>,
    paths: &Root,
) -> TokenStream {
    let Root { private, .. } = paths;
    let (value, item, out) = (local("value"), local("item"), local("out"));
    let encode_item = output.value(paths).encode(paths, &quote!(#item), &quote!(#out));
    let encode_item = quote!(|#item, #out| #encode_item);
    let stream = match broken {
        None => quote!(#private::Outcome::stream(#value, #encode_item)),
        Some(broken) => quote!(#private::Outcome::stream_of(#broken, #value, #encode_item)),
    };
    if let Shape::Fallible(_) = &output.shape {
        let encode_error = output.error(paths).encode(paths, &quote!(&#value), &quote!(#out));
        return quote! {
            match #run {
                ::core::result::Result::Ok(#value) => #stream,
                ::core::result::Result::Err(#value) => #call.failed(|#out| #encode_error),
            }
        };
    }
    quote! {
        let #value = #run;
        #stream
    }
}

/// What is sent back for the output `run`.
fn outcome(output: &Output, run: &TokenStream, call: &Ident, paths: &Root) -> TokenStream {
    let (value, out) = (local("value"), local("out"));
    let encode_value = output.value(paths).give(paths, &quote!(#value), &quote!(#out));
    let succeeded = quote!(#call.value(|#out| #encode_value));
    match &output.shape {
        Shape::Never => quote!(match #run {}),
        Shape::Value => quote! {
            let #value = #run;
            #succeeded
        },
        Shape::Fallible(_) => {
            let encode_error = output.error(paths).give(paths, &quote!(#value), &quote!(#out));
            quote! {
                match #run {
                    ::core::result::Result::Ok(#value) => #succeeded,
                    ::core::result::Result::Err(#value) => #call.failed(|#out| #encode_error),
                }
            }
        }
    }
}
