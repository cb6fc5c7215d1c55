//! How one value becomes bytes and comes back: by the trait `Wire`, as one block, or as the error of a call.
//!
//! The calls carry the spans of the user's type, and the same text in both directions: a type that cannot travel is
//! one error, underlined where it stands in the signature.

use crate::types::ends;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

/// The path of the library, and of what is for the macros alone.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) root: TokenStream,
    pub(crate) private: TokenStream,
}

impl Root {
    pub(crate) fn new(root: TokenStream) -> Self {
        let private = quote!(#root::private);
        Root { root, private }
    }
}

/// A type that travels.
pub(crate) struct Travel {
    /// The owned type.
    pub(crate) ty: TokenStream,
    /// The tokens that rustc underlines where the type cannot travel.
    pub(crate) blame: TokenStream,
    pub(crate) manner: Manner,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Value,
    Blob,
    /// A borrowed block of bytes.
    Slice,
    Error,
}

impl Travel {
    /// An expression that appends the value behind the reference `value` to `out`; its type is a `Result`.
    pub(crate) fn encode(&self, root: &Root, value: &TokenStream, out: &TokenStream) -> TokenStream {
        let function = self.function(root, "encode");
        quote!(#function(#value, #out))
    }

    /// The same for a value of which no more use is made; `value` is the value itself.
    pub(crate) fn give(&self, root: &Root, value: &TokenStream, out: &TokenStream) -> TokenStream {
        match self.manner {
            Manner::Blob => {
                let function = self.function(root, "give");
                quote!(#function(#value, #out))
            }
            _ => self.encode(root, &quote!(&#value), out),
        }
    }

    /// An expression that takes one value from the front of `bytes`; its type is a `Result`.
    pub(crate) fn decode(&self, root: &Root, bytes: &TokenStream) -> TokenStream {
        let function = self.function(root, "decode");
        quote!(#function(#bytes))
    }

    fn function(&self, Root { root, private }: &Root, name: &str) -> TokenStream {
        let (first, last) = ends(&self.blame);
        let ty = &self.ty;
        let open = quote_spanned!(first=> <);
        let name = syn::Ident::new(name, last);
        let close = match self.manner {
            Manner::Value => quote_spanned!(last=> as #root::Wire>::#name),
            Manner::Blob => quote_spanned!(last=> as #private::Blob>::#name),
            Manner::Slice => quote_spanned!(last=> as #private::Slice>::#name),
            Manner::Error => quote_spanned!(last=> as #private::Failure>::#name),
        };
        quote!(#open #ty #close)
    }
}
