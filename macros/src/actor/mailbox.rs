//! What an actor says of its mailbox: `mailbox = 100, overflow = "reject"`.

use crate::fault::Faults;
use crate::options::Options;
use proc_macro2::TokenStream;
use quote::quote;
use syn::Lit;

/// How many messages of a sender may wait, and what becomes of one more.
pub(super) struct Mailbox {
    messages: u32,
    overflow: Overflow,
}

#[derive(Clone, Copy)]
enum Overflow {
    Wait,
    Reject,
    DropOldest,
}

/// The mailbox that the options ask for; `None`: that of the settings.
pub(super) fn read(options: &Options, faults: &mut Faults) -> Option<Mailbox> {
    let messages = options.literal("mailbox", "1024", faults, |lit| match lit {
        Lit::Int(messages) => messages.base10_parse().ok().filter(|messages| *messages > 0),
        _ => None,
    });
    let forms = "\"wait\"`, `\"reject\"` or `\"drop_oldest\"";
    let overflow = options.literal("overflow", forms, faults, |lit| match lit {
        Lit::Str(name) => match name.value().as_str() {
            "wait" => Some(Overflow::Wait),
            "reject" => Some(Overflow::Reject),
            "drop_oldest" => Some(Overflow::DropOldest),
            _ => None,
        },
        _ => None,
    });
    if let (None, Some(value)) = (options.value("mailbox"), options.value("overflow")) {
        faults.at(value, "how many messages are too many? add `mailbox = 1024`");
    }
    Some(Mailbox {
        messages: messages?,
        overflow: overflow.unwrap_or(Overflow::Wait),
    })
}

impl Mailbox {
    /// What is added to the spec.
    pub(super) fn expand(&self, root: &TokenStream) -> TokenStream {
        let messages = self.messages;
        let overflow = match self.overflow {
            Overflow::Wait => quote!(Wait),
            Overflow::Reject => quote!(Reject),
            Overflow::DropOldest => quote!(DropOldest),
        };
        quote!(.mailbox(#messages, #root::Overflow::#overflow))
    }
}
