//! What stands in the brackets of an attribute: `name = value`, separated by commas.
//!
//! Unknown names, names given twice and values of the wrong kind are faults at their tokens.

use crate::fault::Faults;
use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, Ident, Lit, Path, Token};

/// The options that were given, each known to the attribute and given once.
pub(crate) struct Options(Vec<Given>);

struct Given {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Given {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Given { name, value })
    }
}

impl Options {
    /// Reads the options of `attribute`, which knows those of `known`: pairs of a name and how its value looks.
    pub(crate) fn read(
        tokens: TokenStream,
        attribute: &str,
        known: &[(&str, &str)],
        faults: &mut Faults,
    ) -> Self {
        let given = match Punctuated::<Given, Token![,]>::parse_terminated.parse2(tokens) {
            Ok(given) => given,
            Err(error) => {
                faults.add(error);
                return Options(Vec::new());
            }
        };
        let mut options = Vec::<Given>::new();
        for option in given {
            match known.iter().find(|(name, _)| option.name == name) {
                None => faults.at(&option.name, unknown(&option.name, attribute, known)),
                Some(_) if options.iter().any(|other| other.name == option.name) => faults.at(
                    &option.name,
                    format!("`{}` is given twice: leave one of them out", option.name),
                ),
                Some((name, form)) if option.value.is_none() => faults.at(
                    &option.name,
                    format!("`{name}` needs a value: write `{name} = {form}`"),
                ),
                Some(_) => options.push(option),
            }
        }
        Options(options)
    }

    /// The path of this library: `::procession`, or what `crate = path` says.
    pub(crate) fn root(&self, faults: &mut Faults) -> TokenStream {
        let path = match self.value("crate") {
            None => None,
            Some(Expr::Path(path)) if path.qself.is_none() => Some(path.path.clone()),
            Some(Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            })) => text.parse::<Path>().ok(),
            Some(_) => None,
        };
        match (path, self.value("crate")) {
            (Some(path), _) => quote!(#path),
            (None, Some(value)) => {
                faults.at(value, "not a path: write `crate = some::path`");
                quote!(::procession)
            }
            (None, None) => quote!(::procession),
        }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Expr> {
        let option = self.0.iter().find(|option| option.name == name)?;
        option.value.as_ref()
    }

    /// The value of a literal option, read by `read`; where it does not, a fault that names `form`.
    pub(crate) fn literal<T>(
        &self,
        name: &str,
        form: &str,
        faults: &mut Faults,
        read: impl FnOnce(&Lit) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let read = match value {
            Expr::Lit(ExprLit { lit, .. }) => read(lit),
            _ => None,
        };
        if read.is_none() {
            faults.at(value, format!("not a value of `{name}`: write `{name} = {form}`"));
        }
        read
    }
}

fn unknown(name: &Ident, attribute: &str, known: &[(&str, &str)]) -> String {
    let known: Vec<_> = known
        .iter()
        .map(|(name, form)| format!("`{name} = {form}`"))
        .collect();
    format!(
        "`#[{attribute}]` has no option `{name}`: it takes {}",
        known.join(", ")
    )
}
