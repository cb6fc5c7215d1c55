//! `#[service]`: an async function that runs in a process of its own until it is told to stop.

mod check;
mod expand;

use crate::fault::Faults;
use crate::function::Function;
use crate::options::Options;
use crate::travel::{Codec, Root};
use proc_macro2::TokenStream;
use quote::quote;

pub(crate) fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let known = [("crate", "path"), ("codec", Codec::FORM)];
    let options = Options::read(options, "service", &known, &mut faults);
    let root = Root::read(&options, &mut faults);
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            faults.at(&item, "`#[service]` goes above an async function");
            let faults = faults.into_tokens();
            return quote!(#faults #item);
        }
    };
    check::check(&function, &mut faults);
    crate::unit::expand(function, root, "service", faults, expand::expand)
}
