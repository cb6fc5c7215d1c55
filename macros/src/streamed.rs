//! `impl Stream<Item = T>` where it is written in a signature: what its items are.
//!
//! As an argument it is what the method reads. Its items are `Result`s of the library's, where the method is to be told that the
//! stream broke off; where they are plain, the method is dropped then. Whoever calls gives the items alone.

use crate::argument::Streams;
use crate::fault::Faults;
use crate::travel::{Codec, Manner, Root, Travel};
use crate::types;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{AssocType, GenericArgument, PathArguments, PathSegment, Type, TypeImplTrait, TypeParamBound};

/// A stream that is an argument.
pub(crate) struct Streamed {
    /// What is given for each item.
    pub(crate) item: Type,
    /// Whether that is what is read, too.
    pub(crate) is_plain: bool,
}

/// A stream that cannot be taken: the fault is reported.
pub(crate) struct Refused;

/// The stream that the argument is, if it is one.
pub(crate) fn argument(
    ty: &Type,
    streams: Streams,
    faults: &mut Faults,
) -> Option<Result<Streamed, Refused>> {
    let Type::ImplTrait(opaque) = types::peel(ty) else {
        return None;
    };
    let stream = opaque.bounds.iter().find_map(stream)?;
    let item = item(stream).map(|item| &item.ty);
    let (item, is_plain) = match (streams, item) {
        (Streams::Taken, Some(item)) => told(item).map_or((item, true), |item| (item, false)),
        (Streams::Taken, None) => {
            faults.at(opaque, "what are its items? write `impl Stream<Item = T>`");
            return Some(Err(Refused));
        }
        (Streams::Refused, item) => {
            let item = item.map_or_else(|| "T".to_owned(), crate::function::text);
            faults.at(
                opaque,
                format!("only a method of an actor takes a stream: take a `procession::Receiver<{item}>`"),
            );
            return Some(Err(Refused));
        }
    };
    Some(Ok(Streamed {
        item: types::owned(item, faults),
        is_plain,
    }))
}

/// What is in a `Result` of the library's, as its name has it.
fn told(item: &Type) -> Option<&Type> {
    let last = types::last_segment(item).filter(|last| last.ident == "Result")?;
    match types::arguments(last)[..] {
        [item] => Some(item),
        [item, error] => types::last_segment(error)
            .filter(|last| last.ident == "Error")
            .map(|_| item),
        _ => None,
    }
}

impl Streamed {
    pub(crate) fn without_self(self, actor: &Type) -> Self {
        Streamed {
            item: types::without_self(&self.item, actor),
            ..self
        }
    }

    /// As it travels.
    pub(crate) fn receiver(&self, Root { root, .. }: &Root) -> TokenStream {
        let item = &self.item;
        types::at(item, quote!(#root::Receiver<#item>))
    }

    /// What encodes an item, or decodes it: what goes through a channel says what it is, whatever the codec of its message.
    pub(crate) fn coding(&self, name: &str, root: &Root) -> TokenStream {
        let full = Root {
            codec: Codec::Full,
            ..root.clone()
        };
        let item = self.item.to_token_stream();
        let travel = Travel {
            ty: item.clone(),
            blame: item,
            manner: Manner::Value,
        };
        travel.function(&full, name)
    }

    /// As it is given.
    pub(crate) fn given(&self, Root { private, .. }: &Root) -> TokenStream {
        let item = &self.item;
        quote!(impl #private::Stream<Item = #item> + ::core::marker::Send + 'static)
    }

    /// As it is read, where that is to have a name.
    pub(crate) fn read(&self, root: &Root) -> TokenStream {
        let (private, item) = (&root.private, &self.item);
        match self.is_plain {
            true => quote!(#private::Items<#item>),
            false => self.receiver(root),
        }
    }
}

/// The `Stream<..>` of a bound.
pub(crate) fn stream(bound: &TypeParamBound) -> Option<&PathSegment> {
    match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last().filter(|last| last.ident == "Stream"),
        _ => None,
    }
}

/// The `Item = T` of a `Stream<..>`.
pub(crate) fn item(stream: &PathSegment) -> Option<&AssocType> {
    let PathArguments::AngleBracketed(arguments) = &stream.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Item" => Some(assoc),
        _ => None,
    })
}

/// Whether a bound says that nothing is captured.
pub(crate) fn captures_nothing(opaque: &TypeImplTrait) -> bool {
    let is_it = |bound: &TypeParamBound| matches!(bound, TypeParamBound::PreciseCapture(capture) if capture.params.is_empty());
    opaque.bounds.iter().any(is_it)
}
