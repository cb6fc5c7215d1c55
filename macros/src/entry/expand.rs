//! What a sound `main` or test becomes: a function that is not async, around the one that is.

use super::Entry;
use super::check::Config;
use crate::function::Function;
use crate::travel::Root;
use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;

pub(super) fn expand(
    entry: Entry,
    function: &Function,
    config: &Config,
    Root { private, .. }: &Root,
) -> TokenStream {
    let Function {
        attrs,
        vis,
        sig,
        body,
    } = function;
    let (name, output) = (&sig.ident, &sig.output);
    let text = name.unraw().to_string();
    let Config {
        current_thread,
        worker_threads,
        signals,
    } = config;
    let flavor = match current_thread {
        true => quote!(CurrentThread),
        false => quote!(MultiThread),
    };
    let worker_threads = match worker_threads {
        Some(threads) => quote!(::core::option::Option::Some(#threads)),
        None => quote!(::core::option::Option::None),
    };
    let (test, run) = match entry {
        Entry::Main => (None, quote!(main)),
        Entry::Test => (Some(quote!(#[::core::prelude::v1::test])), quote!(test)),
    };
    quote! {
        #test
        #(#attrs)*
        #vis fn #name() #output {
            #sig #body

            #private::#run(
                #private::Main {
                    name: ::core::concat!(::core::module_path!(), "::", #text),
                    flavor: #private::Flavor::#flavor,
                    worker_threads: #worker_threads,
                    signals: #signals,
                },
                #name,
            )
        }
    }
}

/// A function of that name and output, so that the program has its `main`.
pub(super) fn stub(function: &Function) -> TokenStream {
    let Function {
        attrs,
        vis,
        sig,
        body,
    } = function;
    let (name, output) = (&sig.ident, &sig.output);
    quote! {
        #(#attrs)*
        #vis fn #name() #output {
            #[allow(dead_code)]
            #sig #body

            ::core::unreachable!()
        }
    }
}
