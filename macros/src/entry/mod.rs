//! `#[procession::main]` and `#[procession::test]`: an async body on a runtime that can start processes.
//!
//! The body stays an async function of its own, so what is wrong with it is said by rustc, at the user's tokens.

mod check;
mod expand;

use crate::fault::Faults;
use crate::function::Function;
use crate::options::Options;
use crate::travel::Root;
use proc_macro2::TokenStream;
use quote::quote;

/// Which of the two attributes it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Main,
    Test,
}

impl Entry {
    fn attribute(self) -> &'static str {
        match self {
            Entry::Main => "procession::main",
            Entry::Test => "procession::test",
        }
    }
}

pub(crate) fn entry(entry: Entry, options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let options = Options::read(options, entry.attribute(), check::KNOWN, &mut faults);
    let root = Root::read(&options, &mut faults);
    let config = check::Config::read(entry, &options, &mut faults);
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let attribute = entry.attribute();
            faults.at(&item, format!("`#[{attribute}]` goes above an async function"));
            let faults = faults.into_tokens();
            return quote!(#faults #item);
        }
    };
    check::function(entry, &function, &mut faults);
    match faults.is_empty() {
        true => expand::expand(entry, &function, &config, &root),
        false => {
            let (faults, stub) = (faults.into_tokens(), expand::stub(&function));
            quote!(#faults #stub)
        }
    }
}
