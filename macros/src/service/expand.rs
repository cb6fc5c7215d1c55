//! What a sound `#[service]` becomes: a unit struct with `spec` and `spawn`.

use crate::argument;
use crate::output::Shape;
use crate::unit::{Unit, local};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

pub(crate) fn expand(unit: &Unit) -> TokenStream {
    let (root, private) = (&unit.root.root, &unit.root.private);
    let name = &unit.function.sig.ident;
    let input = argument::input(&unit.arguments, &unit.root);
    let error = unit.output.error(&unit.root).ty;
    let names = unit.names();
    let (row, coding, call, allow) = (
        unit.row(&quote!(service)),
        unit.coding(),
        call(unit),
        unit.allow(),
    );
    let vis = &unit.function.vis;
    let (shown, given) = argument::shown(&unit.arguments, &unit.root);
    let out = local("out");
    let encode = argument::give(&unit.arguments, &unit.root, &quote!(#out));
    let unused_out = match unit.arguments.is_empty() {
        true => quote!(_),
        false => quote!(#out),
    };
    // With the span of the name: a type that is more private than the function is reported there.
    let types = quote_spanned! {name.span()=>
        type Input = #input;
        type Error = #error;
    };
    unit.expand(&quote! {
        #[automatically_derived]
        #allow
        impl #private::Service for #name {
            #types

            #row
            async fn call(#names: Self::Input) -> ::core::result::Result<(), Self::Error> {
                #call
            }
            #coding
        }

        #[allow(dead_code, unreachable_pub)]
        #allow
        impl #name {
            /// How to start this service, and what to do when it ends.
            #vis fn spec(self #(, #shown)*) -> #root::Spec<#root::ServiceRef> {
                #private::service_spec::<Self>(#private::encoded(|#unused_out| {
                    #encode
                    ::core::result::Result::Ok(())
                }))
            }

            /// Starts this service in a process of its own.
            #vis fn spawn(
                self #(, #shown)*
            ) -> impl ::core::future::Future<Output = #root::Result<#root::ServiceRef>> + ::core::marker::Send + use<> {
                self.spec(#(#given),*).spawn()
            }
        }
    })
}

/// A call of the function, as a `Result` without a value.
fn call(unit: &Unit) -> TokenStream {
    if unit.is_faulty {
        return unit.call();
    }
    match unit.output.shape {
        Shape::Value => {
            let call = unit.plain_call();
            quote! {
                let () = #call;
                ::core::result::Result::Ok(())
            }
        }
        Shape::Never => unit.call(),
        Shape::Fallible(_) => {
            let call = unit.call();
            quote!(#call.map(::core::mem::drop))
        }
    }
}
