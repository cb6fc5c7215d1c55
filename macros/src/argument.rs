//! The arguments of a function that runs elsewhere.
//!
//! A plain `&T` is taken as its owned form and lent to the function; any other borrow is refused, as are patterns,
//! `self` where there is none, and conditional arguments. An `impl Stream` of an actor's method is taken as a stream, and
//! travels as the receiver of a channel that it is fed into.

use crate::fault::Faults;
use crate::function::text;
use crate::streamed::{self, Refused, Streamed};
use crate::travel::{Manner, Root, Travel};
use crate::types;
use crate::unit::local;
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
    /// What there is of it, where it is a stream.
    pub(crate) stream: Option<Streamed>,
    /// Its type as written, faults and all, where it can stand in the type of a function pointer.
    pub(crate) faulty: Type,
}

/// Whether an argument may be a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    Taken,
    Refused,
}

/// Reads the arguments, without the receiver, and reports what cannot be called from afar.
pub(crate) fn read<'a>(
    inputs: impl Iterator<Item = &'a FnArg>,
    streams: Streams,
    faults: &mut Faults,
) -> Vec<Argument> {
    let typed = inputs.filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    typed
        .enumerate()
        .map(|(idx, typed)| Argument::read(idx, typed, streams, faults))
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
    fn read(idx: usize, typed: &PatType, streams: Streams, faults: &mut Faults) -> Self {
        let hidden = format_ident!("arg{idx}", span = Span::mixed_site());
        if let Some(cfg) = typed.attrs.iter().find(|attr| attr.path().is_ident("cfg")) {
            faults.at(
                cfg,
                "an argument cannot depend on a `cfg`: put it on the whole function",
            );
        }
        let stream = streamed::argument(&typed.ty, streams, faults);
        let (ty, borrowed) = match &stream {
            Some(Ok(_)) => ((*typed.ty).clone(), None),
            Some(Err(Refused)) => (types::owned(&typed.ty, &mut Faults::default()), None),
            None => taken(&typed.ty, faults),
        };
        Argument {
            name: name(&typed.pat, faults).unwrap_or_else(|| hidden.clone()),
            hidden,
            faulty: match types::is_opaque(&typed.ty) {
                true => ty.clone(),
                false => (*typed.ty).clone(),
            },
            ty,
            borrowed,
            stream: stream.and_then(Result::ok),
        }
    }

    pub(crate) fn is_borrowed(&self) -> bool {
        self.borrowed.is_some()
    }

    /// The same, with `Self` written out.
    pub(crate) fn without_self(mut self, actor: &Type) -> Self {
        self.ty = types::without_self(&self.ty, actor);
        self.borrowed = self.borrowed.map(|ty| types::without_self(&ty, actor));
        self.stream = self.stream.map(|stream| stream.without_self(actor));
        self
    }

    /// The type that travels.
    pub(crate) fn owned(&self, root: &Root) -> TokenStream {
        let Root { private, .. } = root;
        if let Some(stream) = &self.stream {
            return stream.receiver(root);
        }
        match &self.borrowed {
            Some(borrowed) => types::at(borrowed, quote!(#private::Owned<#borrowed>)),
            None => self.ty.to_token_stream(),
        }
    }

    pub(crate) fn travel(&self, root: &Root) -> Travel {
        let item = self.stream.as_ref().map(|stream| &stream.item);
        let behind = item.or(self.borrowed.as_ref()).unwrap_or(&self.ty);
        let is_blob = self.stream.is_none() && types::is_blob(behind);
        Travel {
            ty: self.owned(root),
            blame: behind.to_token_stream(),
            manner: match (is_blob, types::peel(behind)) {
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

    /// A statement that gives the method the items of a stream which cannot say how it ends, where it is one: `broken` hears of
    /// that.
    pub(crate) fn plain(&self, broken: &Ident, root: &Root) -> Option<TokenStream> {
        let (hidden, private) = (&self.hidden, &root.private);
        let stream = self.stream.as_ref().filter(|stream| stream.is_plain)?;
        let decode = stream.coding("decode", root);
        Some(quote!(let #hidden = #private::Items::new(#hidden, #decode, &#broken);))
    }

    /// A reference to the owned form of the value that the caller gave.
    pub(crate) fn taken(&self, root: &Root) -> TokenStream {
        let (name, private) = (&self.name, &root.private);
        if let Some(stream) = &self.stream {
            let (feeds, encode) = (local("feeds"), stream.coding("encode", root));
            return quote!(&#private::feed(&mut #feeds, #name, #encode)?);
        }
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
pub(crate) fn shown(arguments: &[Argument], root: &Root) -> (Vec<TokenStream>, Vec<TokenStream>) {
    let shown = arguments.iter().map(|Argument { name, ty, stream, .. }| {
        let ty = match stream {
            Some(stream) => stream.given(root),
            None => ty.to_token_stream(),
        };
        (quote!(#name: #ty), quote!(#name))
    });
    shown.unzip()
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
        match argument.is_borrowed() || argument.stream.is_some() {
            true => travel.encode(root, &argument.taken(root), out),
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
