//! An `impl` as it was written: its functions with their roles, everything else as tokens.

use crate::function::Function;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Generics, ImplItem, Token, Type, WhereClause, braced};

pub(super) struct Block {
    pub(super) attrs: Vec<Attribute>,
    pub(super) impl_token: Token![impl],
    pub(super) generics: Generics,
    /// The trait, where it is an `impl` of one.
    pub(super) implemented: Option<Type>,
    pub(super) ty: Type,
    pub(super) items: Vec<Item>,
}

pub(super) enum Item {
    Function(Box<Member>),
    Other(TokenStream),
}

/// A function of the `impl`, without the attribute that says its role.
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) function: Function,
    /// The attributes that said the role: one, or a fault.
    pub(super) roles: Vec<Attribute>,
    /// The attributes that say that it may run again: one, or a fault.
    pub(super) idempotent: Vec<Attribute>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Terminate,
    /// Marked to stay in the process.
    Local,
    /// Can be called through the ref.
    Method,
    /// A function without `self`: not remote.
    Associated,
}

impl Parse for Block {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let impl_token = input.parse()?;
        let mut generics: Generics = input.parse()?;
        let first: Type = input.parse()?;
        let (implemented, ty) = match input.parse::<Option<Token![for]>>()? {
            Some(_) => (Some(first), input.parse()?),
            None => (None, first),
        };
        generics.where_clause = input.parse::<Option<WhereClause>>()?;
        let content;
        braced!(content in input);
        let mut attrs = attrs;
        attrs.extend(content.call(Attribute::parse_inner)?);
        let mut items = Vec::new();
        while !content.is_empty() {
            items.push(content.parse()?);
        }
        Ok(Block {
            attrs,
            impl_token,
            generics,
            implemented,
            ty,
            items,
        })
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        match input.fork().parse::<Function>() {
            Ok(_) => Ok(Item::Function(Box::new(Member::of(input.parse()?)))),
            Err(_) => Ok(Item::Other(input.parse::<ImplItem>()?.into_token_stream())),
        }
    }
}

impl Member {
    fn of(mut function: Function) -> Self {
        let attrs = std::mem::take(&mut function.attrs).into_iter();
        let (roles, attrs): (Vec<_>, Vec<_>) = attrs.partition(|attr| named_role(attr).is_some());
        let is_idempotent = |attr: &Attribute| attr.path().is_ident("idempotent");
        let (idempotent, attrs): (Vec<_>, Vec<_>) = attrs.into_iter().partition(is_idempotent);
        function.attrs = attrs;
        let role = roles.first().and_then(named_role).unwrap_or({
            match crate::argument::receiver(function.sig.inputs.iter()) {
                Some(_) => Role::Method,
                None => Role::Associated,
            }
        });
        Member {
            role,
            function,
            roles,
            idempotent,
        }
    }
}

fn named_role(attr: &Attribute) -> Option<Role> {
    let path = attr.path();
    match () {
        () if path.is_ident("init") => Some(Role::Init),
        () if path.is_ident("terminate") => Some(Role::Terminate),
        () if path.is_ident("local") => Some(Role::Local),
        () => None,
    }
}

impl ToTokens for Block {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Block {
            attrs,
            impl_token,
            generics,
            ty,
            items,
            ..
        } = self;
        let (params, _, clause) = generics.split_for_impl();
        let outer = attrs
            .iter()
            .filter(|attr| matches!(attr.style, syn::AttrStyle::Outer));
        let inner = attrs
            .iter()
            .filter(|attr| matches!(attr.style, syn::AttrStyle::Inner(_)));
        let implemented = self
            .implemented
            .as_ref()
            .map(|implemented| quote!(#implemented for));
        tokens.extend(quote! {
            #(#outer)*
            #impl_token #params #implemented #ty #clause {
                #(#inner)*
                #(#items)*
            }
        });
    }
}

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Item::Function(member) => member.function.to_tokens(tokens),
            Item::Other(other) => other.to_tokens(tokens),
        }
    }
}
