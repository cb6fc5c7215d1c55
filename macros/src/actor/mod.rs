//! `#[actor]`: an `impl` whose type lives in a process of its own and whose methods are called through a ref.
//!
//! The `impl` is kept as it was written. Beside it come the ref, `spawn` and `spec`, and the table by which a process
//! finds the method that a message names.

mod check;
mod dispatch;
mod handle;
mod mailbox;
mod parse;
mod stream;

use crate::fault::Faults;
use crate::options::Options;
use crate::travel::{Codec, Root};
use proc_macro2::TokenStream;
use quote::quote;

pub(crate) fn actor(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let known = [
        ("crate", "path"),
        ("mailbox", "1024"),
        ("overflow", "\"wait\""),
        ("codec", Codec::FORM),
    ];
    let options = Options::read(options, "actor", &known, &mut faults);
    let mailbox = mailbox::read(&options, &mut faults);
    let root = Root::read(&options, &mut faults);
    let mut block = match syn::parse2::<parse::Block>(item.clone()) {
        Ok(block) => block,
        Err(_) => {
            faults.at(&item, "`#[actor]` goes above `impl` and the name of a type");
            let faults = faults.into_tokens();
            return quote!(#faults #item);
        }
    };
    let actor = check::check(&mut block, root, mailbox, &mut faults);
    let faults = faults.into_tokens();
    let made = actor.map(|actor| {
        let (handle, dispatch) = (handle::expand(&actor), dispatch::expand(&actor));
        quote!(#handle #dispatch)
    });
    quote!(#faults #block #made)
}
