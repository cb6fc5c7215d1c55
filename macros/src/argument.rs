//! The arguments of a function that runs elsewhere.
//!
//! A plain `&T` is taken as its owned form and lent to the function; any other borrow is refused, as are patterns,
//! `self` where there is none, and conditional arguments.

use crate::fault::Faults;
use crate::function::text;
use crate::travel::{Manner, Root, Travel};
use crate::types;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{FnArg, Ident, Pat, PatType, Receiver, Type};

/// One argument, `self` aside.
pub(crate) struct Argument {
    /// Its name in the signature, for those that are shown again.
    pub(crate) name: Ident,
    /// A name that cannot meet one of the user's.
    pub(crate) hidden: Ident,
    /// Its type as written; in a faulty signature, one that could be written instead.
    pub(crate) ty: Type,
    /// What is behind the borrow, where it is one.
    borrowed: Option<Type>,
    /// Its type as written, faults and all, where it can stand in the type of a function pointer.
    pub(crate) faulty: Type,
}

/// Reads the arguments, without the receiver, and reports what cannot be called from afar.
pub(crate) fn read<'a>(inputs: impl Iterator<Item = &'a FnArg>, faults: &mut Faults) -> Vec<Argument> {
    let typed = inputs.filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    typed
        .enumerate()
        .map(|(idx, typed)| Argument::read(idx, typed, faults))
        .collect()
}

/// The `self` of a function, if it has one.
pub(crate) fn receiver<'a>(mut inputs: impl Iterator<Item = &'a FnArg>) -> Option<&'a Receiver> {
    inputs.find_map(|input| match input {
        FnArg::Receiver(receiver) => Some(receiver),
        FnArg::Typed(_) => None,
    })
}

impl Argument {
    fn read(idx: usize, typed: &PatType, faults: &mut Faults) -> Self {
        let hidden = format_ident!("arg{idx}", span = Span::mixed_site());
        if let Some(cfg) = typed.attrs.iter().find(|attr| attr.path().is_ident("cfg")) {
            faults.at(
                cfg,
                "an argument cannot depend on a `cfg`: put it on the whole function",
            );
        }
        let (ty, borrowed) = taken(&typed.ty, faults);
        Argument {
            name: name(&typed.pat, faults).unwrap_or_else(|| hidden.clone()),
            hidden,
            faulty: match types::is_opaque(&typed.ty) {
                true => ty.clone(),
                false => (*typed.ty).clone(),
            },
            ty,
            borrowed,
        }
    }

    pub(crate) fn is_borrowed(&self) -> bool {
        self.borrowed.is_some()
    }

    /// The same, with `Self` written out.
    pub(crate) fn without_self(mut self, actor: &Type) -> Self {
        self.ty = types::without_self(&self.ty, actor);
        self.borrowed = self.borrowed.map(|ty| types::without_self(&ty, actor));
        self
    }

    /// The type that travels.
    pub(crate) fn owned(&self, Root { private, .. }: &Root) -> TokenStream {
        match &self.borrowed {
            Some(borrowed) => types::at(borrowed, quote!(#private::Owned<#borrowed>)),
            None => self.ty.to_token_stream(),
        }
    }

    pub(crate) fn travel(&self, root: &Root) -> Travel {
        let behind = self.borrowed.as_ref().unwrap_or(&self.ty);
        Travel {
            ty: self.owned(root),
            blame: behind.to_token_stream(),
            manner: match (types::is_blob(behind), types::peel(behind)) {
                (true, Type::Slice(_)) => Manner::Slice,
                (true, _) => Manner::Blob,
                (false, _) => Manner::Value,
            },
        }
    }

    /// The owned value `value`, as the function wants it.
    pub(crate) fn lend(&self, Root { private, .. }: &Root, value: &TokenStream) -> TokenStream {
        match &self.borrowed {
            Some(borrowed) => quote!(#private::lend::<#borrowed>(&#value)),
            None => value.clone(),
        }
    }

    /// A reference to the owned form of the value that the caller gave.
    pub(crate) fn taken(&self) -> TokenStream {
        let name = &self.name;
        match &self.borrowed {
            Some(borrowed) if types::is_blob(borrowed) => quote!(#name),
            Some(borrowed) => quote!(&<#borrowed as ::std::borrow::ToOwned>::to_owned(#name)),
            None => quote!(&#name),
        }
    }
}

/// The type of all arguments together: `()`, that of the only one, or a tuple.
pub(crate) fn input(arguments: &[Argument], root: &Root) -> TokenStream {
    let mut types: Vec<_> = arguments.iter().map(|argument| argument.owned(root)).collect();
    match types.len() {
        1 => types.remove(0),
        _ => quote!((#(#types),*)),
    }
}

/// What takes the value of [`input`] apart, and makes it.
pub(crate) fn names(arguments: &[Argument]) -> TokenStream {
    let names: Vec<_> = arguments.iter().map(|argument| &argument.hidden).collect();
    match names[..] {
        [name] => quote!(#name),
        _ => quote!((#(#names),*)),
    }
}

/// The arguments as they are shown, and their names.
pub(crate) fn shown(arguments: &[Argument]) -> (Vec<TokenStream>, Vec<TokenStream>) {
    arguments
        .iter()
        .map(|Argument { name, ty, .. }| (quote!(#name: #ty), quote!(#name)))
        .unzip()
}

/// Statements that encode all arguments, one after the other.
pub(crate) fn encode(
    arguments: &[Argument],
    root: &Root,
    out: &TokenStream,
    value: impl Fn(&Argument) -> TokenStream,
) -> TokenStream {
    let encoded = arguments
        .iter()
        .map(|argument| argument.travel(root).encode(root, &value(argument), out));
    quote!(#(#encoded?;)*)
}

/// The same for arguments that the caller gave, of which no more use is made.
pub(crate) fn give(arguments: &[Argument], root: &Root, out: &TokenStream) -> TokenStream {
    let given = arguments.iter().map(|argument| {
        let (travel, name) = (argument.travel(root), &argument.name);
        match argument.is_borrowed() {
            true => travel.encode(root, &argument.taken(), out),
            false => travel.give(root, &quote!(#name), out),
        }
    });
    quote!(#(#given?;)*)
}

/// A value of [`input`], decoded in the same order, as a `Result`.
pub(crate) fn decode(arguments: &[Argument], root: &Root, bytes: &TokenStream) -> TokenStream {
    let decoded: Vec<_> = arguments
        .iter()
        .map(|argument| argument.travel(root).decode(root, bytes))
        .collect();
    match &decoded[..] {
        [decoded] => quote!(#decoded),
        _ => quote!(::core::result::Result::Ok((#(#decoded?),*))),
    }
}

/// The name that a pattern binds, if it is nothing but a name.
fn name(pat: &Pat, faults: &mut Faults) -> Option<Ident> {
    match pat {
        Pat::Ident(ident) if ident.by_ref.is_none() && ident.subpat.is_none() => Some(ident.ident.clone()),
        Pat::Wild(_) => None,
        pattern => {
            faults.at(
                pattern,
                "an argument that travels has a plain name: name it and take it apart in the body",
            );
            None
        }
    }
}

/// The type to take for one that was written, and what is behind it, where it is a plain borrow.
fn taken(ty: &Type, faults: &mut Faults) -> (Type, Option<Type>) {
    let Type::Reference(reference) = types::peel(ty) else {
        return (types::owned(ty, faults), None);
    };
    let mut plain = reference.clone();
    let lifetime = plain.lifetime.take();
    let mut found = Faults::default();
    let owned = types::owned_behind(&plain.elem, &mut found);
    if reference.mutability.is_some() {
        faults.at(reference, types::exclusive(&owned));
        return (owned, None);
    }
    if let Some(lifetime) = lifetime {
        let plain = text(&plain);
        faults.at(
            lifetime,
            format!("a lifetime has no meaning in another process: leave it out and write `{plain}`"),
        );
    }
    let sound = found.is_empty();
    faults.append(found);
    let elem = (*plain.elem).clone();
    match sound {
        true => (Type::Reference(plain), Some(elem)),
        false => (owned, None),
    }
}
