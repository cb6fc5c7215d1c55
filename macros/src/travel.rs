//! How one value becomes bytes and comes back: by the trait `Wire` and one of its codecs, as one block, or as the error
//! of a call.
//!
//! The calls carry the spans of the user's type, and the same text in both directions: a type that cannot travel is
//! one error, underlined where it stands in the signature.

use crate::fault::Faults;
use crate::options::Options;
use crate::types::ends;
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::Lit;

/// The path of the library, of what is for the macros alone, and the codec that values travel in.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) root: TokenStream,
    pub(crate) private: TokenStream,
    pub(crate) codec: Codec,
}

/// What the bytes of a value are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// They carry the names of fields and variants, and thus every type.
    Full,
    Compact,
}

impl Root {
    /// What the options `crate` and `codec` say.
    pub(crate) fn read(options: &Options, faults: &mut Faults) -> Self {
        let codec = options.literal("codec", Codec::FORM, faults, |lit| match lit {
            Lit::Str(name) if name.value() == "compact" => Some(Codec::Compact),
            _ => None,
        });
        let root = options.root(faults);
        Root {
            private: quote!(#root::private),
            root,
            codec: codec.unwrap_or(Codec::Full),
        }
    }
}

impl Codec {
    /// The value of the option.
    pub(crate) const FORM: &str = "\"compact\"";

    /// What two builds have to agree on; nothing for the one that is not asked for.
    pub(crate) fn signature(self) -> Option<TokenStream> {
        (self == Codec::Compact).then(|| quote!(compact))
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

    /// The path of the function of that name.
    pub(crate) fn function(&self, Root { root, private, codec }: &Root, name: &str) -> TokenStream {
        let (first, last) = ends(&self.blame);
        let ty = &self.ty;
        let open = quote_spanned!(first=> <);
        let name = match (self.manner, codec) {
            (Manner::Value | Manner::Error, Codec::Compact) => format_ident!("{name}_compact", span = last),
            _ => syn::Ident::new(name, last),
        };
        let close = match self.manner {
            Manner::Value => quote_spanned!(last=> as #root::Wire>::#name),
            Manner::Blob => quote_spanned!(last=> as #private::Blob>::#name),
            Manner::Slice => quote_spanned!(last=> as #private::Slice>::#name),
            Manner::Error => quote_spanned!(last=> as #private::Failure>::#name),
        };
        quote!(#open #ty #close)
    }
}
