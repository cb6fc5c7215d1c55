//! `#[task]`: a function that can run in a process of its own.

mod expand;

use crate::fault::Faults;
use crate::function::Function;
use crate::options::Options;
use crate::travel::{Codec, Root};
use proc_macro2::TokenStream;
use quote::quote;

pub(crate) fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let known = [("crate", "path"), ("codec", Codec::FORM)];
    let options = Options::read(options, "task", &known, &mut faults);
    let root = Root::read(&options, &mut faults);
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            faults.at(&item, "`#[task]` goes above a function");
            let faults = faults.into_tokens();
            return quote!(#faults #item);
        }
    };
    crate::unit::expand(function, root, "task", faults, expand::expand)
}
