//! Types as they are written: their owned forms, what cannot travel by its looks, and what travels as a block.
//!
//! A macro sees tokens, not types: `Result`, `Vec<u8>` and `Bytes` are known by their last path segment.

use crate::fault::Faults;
use crate::function::text;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{ExprPath, GenericArgument, Ident, PathArguments, PathSegment, Type, parse_quote};

/// Reports what in `ty` cannot travel by its looks, and gives the type to write instead (`ty` itself, if sound).
pub(crate) fn owned(ty: &Type, faults: &mut Faults) -> Type {
    let (owned, found) = owner(ty);
    report(found, &owned, faults);
    owned
}

/// The same for what is behind a plain borrow: the type to write instead is the owned form of the whole.
pub(crate) fn owned_behind(borrowed: &Type, faults: &mut Faults) -> Type {
    let (inner, found) = owner(borrowed);
    let owned = owned_form(&inner);
    report(found, &owned, faults);
    owned
}

fn owner(ty: &Type) -> (Type, Vec<(TokenStream, Problem)>) {
    let mut owner = Owner { found: Vec::new() };
    let mut owned = ty.clone();
    owner.visit_type_mut(&mut owned);
    (owned, owner.found)
}

fn report(found: Vec<(TokenStream, Problem)>, owned: &Type, faults: &mut Faults) {
    for (tokens, problem) in found {
        faults.at(tokens, problem.message(owned));
    }
}

/// The type without parentheses, or the invisible group that a `$ty:ty` of a macro leaves around it.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inner) => peel(&inner.elem),
        Type::Group(inner) => peel(&inner.elem),
        ty => ty,
    }
}

/// Replaces each borrow by its owned form and remembers where it stood.
struct Owner {
    found: Vec<(TokenStream, Problem)>,
}

enum Problem {
    Exclusive,
    Nested,
    Lifetime,
    Opaque,
    Address,
}

impl Problem {
    fn message(&self, owned: &Type) -> String {
        let text = text(owned);
        match self {
            Problem::Exclusive => exclusive(owned),
            Problem::Nested => {
                format!("a borrow inside another type cannot travel to another process: write `{text}`")
            }
            Problem::Lifetime => {
                format!("a value that travels to another process borrows nothing: write `{text}`")
            }
            Problem::Opaque => "a value that travels has one known type: write it instead".to_owned(),
            Problem::Address => {
                "an address means nothing in another process: send what it points to".to_owned()
            }
        }
    }
}

/// What is wrong with a `&mut T`.
pub(crate) fn exclusive(owned: &Type) -> String {
    let owned = text(owned);
    format!("`&mut` does not reach into another process: take `{owned}` and return what has changed")
}

impl Owner {
    /// Leaves `()` where no other type can be named, so that the rest of the signature can be used.
    fn refuse(&mut self, ty: &mut Type, problem: Problem) {
        self.found.push((ty.to_token_stream(), problem));
        *ty = parse_quote!(());
    }
}

impl VisitMut for Owner {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::Reference(reference) => {
                let problem = match reference.mutability {
                    Some(_) => Problem::Exclusive,
                    None => Problem::Nested,
                };
                self.found.push((reference.to_token_stream(), problem));
                // What is behind it is part of the same fault.
                let mut inside = Owner { found: Vec::new() };
                inside.visit_type_mut(&mut reference.elem);
                *ty = owned_form(&reference.elem);
            }
            Type::ImplTrait(_) | Type::TraitObject(_) => self.refuse(ty, Problem::Opaque),
            Type::FnPtr(_) | Type::Ptr(_) => self.refuse(ty, Problem::Address),
            _ => visit_mut::visit_type_mut(self, ty),
        }
    }

    fn visit_path_segment_mut(&mut self, segment: &mut PathSegment) {
        visit_mut::visit_path_segment_mut(self, segment);
        let PathArguments::AngleBracketed(arguments) = &mut segment.arguments else {
            return;
        };
        for argument in &arguments.args {
            if let GenericArgument::Lifetime(lifetime) = argument {
                self.found.push((lifetime.to_token_stream(), Problem::Lifetime));
            }
        }
        let args = std::mem::take(&mut arguments.args).into_iter();
        arguments.args = args
            .filter(|arg| !matches!(arg, GenericArgument::Lifetime(_)))
            .collect();
        if arguments.args.is_empty() {
            segment.arguments = PathArguments::None;
        }
    }

    fn visit_type_path_mut(&mut self, path: &mut syn::TypePath) {
        visit_mut::visit_type_path_mut(self, path);
        // `Cow<'_, str>` is the one well-known type that has an owned form of its own.
        if let Some(inner) = path
            .path
            .segments
            .last()
            .and_then(|last| only_argument(last, "Cow"))
            && let Type::Path(owned) = owned_form(inner)
        {
            *path = owned;
        }
    }
}

/// The owned form of what is behind a plain borrow, as a person would write it.
fn owned_form(borrowed: &Type) -> Type {
    if let Type::Slice(slice) = borrowed {
        let element = &slice.elem;
        return parse_quote!(Vec<#element>);
    }
    let owned = match last_segment(borrowed)
        .map(|segment| segment.ident.to_string())
        .as_deref()
    {
        Some("str") => "String",
        Some("Path") => "PathBuf",
        Some("OsStr") => "OsString",
        Some("CStr") => "CString",
        _ => return borrowed.clone(),
    };
    let owned = Ident::new(owned, borrowed.span());
    parse_quote!(#owned)
}

/// The last segment of a path type.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match peel(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// The type arguments of a segment.
pub(crate) fn arguments(segment: &PathSegment) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Vec::new();
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

fn only_argument<'a>(segment: &'a PathSegment, name: &str) -> Option<&'a Type> {
    match arguments(segment)[..] {
        [inner] if segment.ident == name => Some(inner),
        _ => None,
    }
}

/// Whether a value of this type travels as one block of bytes: `Vec<u8>`, `[u8]` or `Bytes`.
pub(crate) fn is_blob(ty: &Type) -> bool {
    match peel(ty) {
        Type::Slice(slice) => is_byte(&slice.elem),
        _ => last_segment(ty).is_some_and(|last| {
            last.ident == "Bytes" && last.arguments.is_none()
                || only_argument(last, "Vec").is_some_and(is_byte)
        }),
    }
}

fn is_byte(ty: &Type) -> bool {
    matches!(peel(ty), Type::Path(path) if path.path.is_ident("u8"))
}

/// Whether there is an `impl Trait` in it.
pub(crate) fn is_opaque(ty: &Type) -> bool {
    struct Finder(bool);
    impl VisitMut for Finder {
        fn visit_type_impl_trait_mut(&mut self, _: &mut syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut finder = Finder(false);
    finder.visit_type_mut(&mut ty.clone());
    finder.0
}

/// Whether it is `()`.
pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(peel(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// Writes `actor` for every `Self`: on the ref, `Self` would be the ref.
pub(crate) fn without_self(ty: &Type, actor: &Type) -> Type {
    struct Namer<'a>(&'a Type);
    impl VisitMut for Namer<'_> {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            match ty {
                Type::Path(path) if path.qself.is_none() && path.path.is_ident("Self") => {
                    *ty = self.0.clone()
                }
                _ => visit_mut::visit_type_mut(self, ty),
            }
        }

        /// `Self::N`, as in the length of an array.
        fn visit_expr_path_mut(&mut self, path: &mut ExprPath) {
            let mut segments = path.path.segments.iter();
            if path.qself.is_none() && segments.next().is_some_and(|first| first.ident == "Self") {
                let (actor, rest) = (self.0, segments);
                *path = parse_quote!(<#actor>::#(#rest)::*);
            }
        }
    }
    let mut named = ty.clone();
    Namer(actor).visit_type_mut(&mut named);
    named
}

/// The spans of the first and the last token: between them rustc underlines the whole.
pub(crate) fn ends(tokens: impl ToTokens) -> (Span, Span) {
    let mut spans = tokens.into_token_stream().into_iter().map(|token| match token {
        proc_macro2::TokenTree::Group(group) => (group.span_open(), group.span_close()),
        token => (token.span(), token.span()),
    });
    let first = spans.next().unwrap_or((Span::call_site(), Span::call_site()));
    (first.0, spans.last().unwrap_or(first).1)
}

/// Tokens of ours that stand for a type of the user's: rustc is to underline that type.
pub(crate) fn at(blame: impl ToTokens, tokens: TokenStream) -> TokenStream {
    let (first, last) = ends(blame);
    let mut tokens: Vec<_> = tokens.into_iter().collect();
    for token in &mut tokens {
        token.set_span(first);
    }
    if let Some(token) = tokens.last_mut() {
        token.set_span(last);
    }
    tokens.into_iter().collect()
}

/// A number that changes with the tokens, whatever their spacing.
pub(crate) fn fingerprint(tokens: impl ToTokens) -> TokenStream {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    fold(&mut hash, tokens.into_token_stream());
    quote!(#hash)
}

fn fold(hash: &mut u64, tokens: TokenStream) {
    for token in tokens {
        match token {
            proc_macro2::TokenTree::Group(group) => {
                add(hash, &format!("{:?}", group.delimiter()));
                fold(hash, group.stream());
                add(hash, "end");
            }
            token => add(hash, &token.to_string()),
        }
    }
}

/// FNV-1a over a text and a separator.
fn add(hash: &mut u64, text: &str) {
    for byte in text.bytes().chain([0]) {
        *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}
