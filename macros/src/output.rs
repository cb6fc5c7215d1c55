//! What a function that runs elsewhere gives back.
//!
//! A `Result` (known by its last path segment) is taken apart: its error arrives as the error of the call. `!` arrives
//! as `Never`. `anyhow::Result` and `io::Result` are refused with what to write instead, since their errors do not
//! travel.

use crate::fault::Faults;
use crate::travel::{Manner, Root, Travel};
use crate::types;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{ReturnType, Type, TypeReference, parse_quote};

/// The output of a function.
pub(crate) struct Output {
    /// The whole type as written; `()` where none was.
    pub(crate) ty: Type,
    pub(crate) shape: Shape,
}

pub(crate) enum Shape {
    Value,
    Never,
    /// A `Result`, with the type arguments that were written.
    Fallible(Vec<Type>),
}

impl Output {
    /// Reads the output type, and reports what cannot travel by its looks.
    pub(crate) fn read(output: &ReturnType, faults: &mut Faults) -> Self {
        let ReturnType::Type(_, ty) = output else {
            return Output {
                ty: parse_quote!(()),
                shape: Shape::Value,
            };
        };
        let ty = match types::peel(ty) {
            Type::Reference(reference) => returned(reference, faults),
            ty => types::owned(ty, faults),
        };
        let ty = refuse_foreign(&ty, faults).unwrap_or(ty);
        Output {
            shape: Shape::of(&ty),
            ty,
        }
    }

    /// The same, with `Self` written out.
    pub(crate) fn without_self(self, actor: &Type) -> Self {
        let ty = types::without_self(&self.ty, actor);
        Output {
            shape: Shape::of(&ty),
            ty,
        }
    }

    /// The same for an item of a stream, which may be a `Result` and is a value all the same.
    pub(crate) fn of_stream(self, actor: &Type, is_fallible: bool) -> Self {
        let ty = types::without_self(&self.ty, actor);
        let shape = match is_fallible {
            true => Shape::of(&ty),
            false => Shape::Value,
        };
        Output { ty, shape }
    }

    /// How the value travels.
    pub(crate) fn value(&self, Root { root, private, .. }: &Root) -> Travel {
        let whole = &self.ty;
        let (ty, written) = match &self.shape {
            Shape::Value => (whole.to_token_stream(), Some(whole)),
            Shape::Never => (quote!(#root::Never), None),
            Shape::Fallible(arguments) => match &arguments[..] {
                [value, _, ..] => (value.to_token_stream(), Some(value)),
                fewer => {
                    let blame = fewer.first().unwrap_or(whole);
                    let value = quote!(<#whole as #private::Fallible>::Value);
                    (types::at(blame, value), fewer.first())
                }
            },
        };
        let manner = match written.is_some_and(types::is_blob) {
            true => Manner::Blob,
            false => Manner::Value,
        };
        Travel {
            ty,
            blame: written.unwrap_or(whole).to_token_stream(),
            manner,
        }
    }

    /// How the error travels; `Never` where there is none.
    pub(crate) fn error(&self, Root { root, private, .. }: &Root) -> Travel {
        let whole = &self.ty;
        let (ty, blame) = match &self.shape {
            Shape::Value | Shape::Never => (quote!(#root::Never), whole),
            Shape::Fallible(arguments) => match &arguments[..] {
                [_, error, ..] => (error.to_token_stream(), error),
                _ => (
                    types::at(whole, quote!(<#whole as #private::Fallible>::Error)),
                    whole,
                ),
            },
        };
        Travel {
            ty,
            blame: blame.to_token_stream(),
            manner: Manner::Error,
        }
    }

    /// The output `call` as a `Result`.
    pub(crate) fn flatten(&self, call: &TokenStream) -> TokenStream {
        match self.shape {
            Shape::Value => quote!(::core::result::Result::Ok(#call)),
            Shape::Never => quote!(match #call {}),
            Shape::Fallible(_) => call.clone(),
        }
    }
}

impl Shape {
    fn of(ty: &Type) -> Self {
        if let Type::Never(_) = types::peel(ty) {
            return Shape::Never;
        }
        match types::last_segment(ty) {
            Some(last) if last.ident == "Result" => {
                Shape::Fallible(types::arguments(last).into_iter().cloned().collect())
            }
            _ => Shape::Value,
        }
    }
}

/// A borrow as an output: refused, for its owned form.
fn returned(reference: &TypeReference, faults: &mut Faults) -> Type {
    let owned = types::owned_behind(&reference.elem, &mut Faults::default());
    let text = crate::function::text(&owned);
    faults.at(
        reference,
        format!("a borrow cannot be returned from another process: write `{text}`"),
    );
    owned
}

/// `anyhow::Result` and `io::Result`, spelled with their paths: refused, for a `Result` that travels.
fn refuse_foreign(ty: &Type, faults: &mut Faults) -> Option<Type> {
    let Type::Path(path) = types::peel(ty) else {
        return None;
    };
    let mut segments = path.path.segments.iter().rev();
    let (last, module) = (segments.next()?, segments.next()?);
    let arguments = types::arguments(last);
    let foreign = ["anyhow", "eyre", "io"].iter().any(|name| module.ident == name);
    if last.ident != "Result" || !foreign || arguments.len() > 1 {
        return None;
    }
    let name = &module.ident;
    faults.at(
        ty,
        format!(
            "the error of `{name}::Result` cannot travel to another process: \
             return `procession::Result` and write `.map_err(procession::Error::new)`"
        ),
    );
    let value = arguments.first();
    Some(parse_quote!(::core::result::Result<#value, ::std::string::String>))
}
