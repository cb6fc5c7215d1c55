//! What a sound `#[task]` becomes: a unit struct that is a `Task`.

use crate::argument;
use crate::unit::{Unit, local};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

pub(crate) fn expand(unit: &Unit) -> TokenStream {
    let root = &unit.root.root;
    let name = &unit.function.sig.ident;
    let input = argument::input(&unit.arguments, &unit.root);
    let value = unit.output.value(&unit.root);
    let error = unit.output.error(&unit.root);
    let (value_ty, error_ty) = (&value.ty, &error.ty);
    let (given, out, bytes) = (local("given"), local("out"), local("bytes"));
    let [encode_output, encode_error] =
        [&value, &error].map(|travel| travel.encode(&unit.root, &quote!(#given), &quote!(#out)));
    let [decode_output, decode_error] =
        [&value, &error].map(|travel| travel.decode(&unit.root, &quote!(#bytes)));
    let names = unit.names();
    let (row, coding, call, allow) = (unit.row(&quote!(task)), unit.coding(), unit.call(), unit.allow());
    // With the span of the name: a type that is more private than the function is reported there.
    let types = quote_spanned! {name.span()=>
        type Input = #input;
        type Output = #value_ty;
        type Error = #error_ty;
    };
    unit.expand(&quote! {
        #[automatically_derived]
        #allow
        impl #root::Task for #name {
            #types

            #row
            async fn call(#names: Self::Input) -> ::core::result::Result<Self::Output, Self::Error> {
                #call
            }
            #coding
            fn encode_output(
                #given: &Self::Output,
                #out: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), #root::Error> {
                #encode_output
            }
            fn decode_output(#bytes: &mut &[u8]) -> ::core::result::Result<Self::Output, #root::Error> {
                #decode_output
            }
            fn encode_error(
                #given: &Self::Error,
                #out: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), #root::Error> {
                #encode_error
            }
            fn decode_error(#bytes: &mut &[u8]) -> ::core::result::Result<Self::Error, #root::Error> {
                #decode_error
            }
        }
    })
}
