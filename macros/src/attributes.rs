//! Which of the user's attributes go where: the documentation to what users name, the rest to what they wrote.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token};

/// `#[cfg]`: they go on every item that is made.
pub(crate) fn cfgs(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}

/// What describes an item to those who use it: documentation, deprecation, and the levels of lints.
pub(crate) fn described(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs
        .iter()
        .filter(|attr| is_description(attr) || is_lint_level(attr))
        .collect()
}

/// What belongs to the function itself: all but its conditions and its description.
pub(crate) fn inner(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs
        .iter()
        .filter(|attr| !is_description(attr) && !attr.path().is_ident("cfg"))
        .collect()
}

/// `#[allow(deprecated)]` where the item is deprecated: what is made around it has to name it.
pub(crate) fn allow_deprecated(attrs: &[Attribute]) -> Option<TokenStream> {
    let deprecated = attrs.iter().any(|attr| attr.path().is_ident("deprecated"));
    deprecated.then(|| quote!(#[allow(deprecated)]))
}

/// How many of a list of items are compiled: a number where that is known, else a sum over their conditions.
pub(crate) fn count<'a>(items: impl Iterator<Item = &'a [Attribute]>) -> TokenStream {
    let mut known = 0u32;
    let mut conditions = Vec::new();
    for attrs in items {
        let cfgs: Vec<_> = cfgs(attrs).into_iter().filter_map(predicate).collect();
        match cfgs.is_empty() {
            true => known += 1,
            false => conditions.push(quote!(::core::cfg!(all(#(#cfgs),*)) as u32)),
        }
    }
    quote!(#known #(+ #conditions)*)
}

fn predicate(cfg: &Attribute) -> Option<TokenStream> {
    Some(cfg.meta.require_list().ok()?.tokens.clone())
}

fn is_description(attr: &Attribute) -> bool {
    let path = attr.path();
    path.is_ident("doc") || path.is_ident("deprecated") || is_conditional_description(attr)
}

/// `#[cfg_attr(.., doc = "..")]` and the like.
fn is_conditional_description(attr: &Attribute) -> bool {
    let nested = Punctuated::<Meta, Token![,]>::parse_terminated;
    attr.path().is_ident("cfg_attr")
        && attr.parse_args_with(nested).is_ok_and(|metas| {
            let mut metas = metas.iter().skip(1);
            metas.all(|meta| meta.path().is_ident("doc") || meta.path().is_ident("deprecated"))
        })
}

/// `#[expect]` is not among them: on a copy it would go unfulfilled.
fn is_lint_level(attr: &Attribute) -> bool {
    let levels = ["allow", "warn", "deny", "forbid"];
    levels.iter().any(|level| attr.path().is_ident(level))
}
