//! The value that takes the place of a task's or service's function: it has the function's name, documentation and
//! visibility, and derefs to the function pointer, so that it can still be called.
//!
//! It is a struct without fields and a static, both of that name: a unit struct would do, but `clippy::no_effect` takes
//! its call for a constructor. The function itself goes, as it was written, into the same anonymous constant as the
//! `impl`s. There its own name is the function: it can be shadowed by an argument, and recursion stays in the process.
//! Nothing else in that constant has a name that the body could meet.

use crate::argument::{self, Argument, Streams};
use crate::attributes;
use crate::fault::Faults;
use crate::function::Function;
use crate::output::{Output, Shape};
use crate::travel::Root;
use crate::types;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Safety, Type};

/// A free function, read.
pub(crate) struct Unit {
    pub(crate) root: Root,
    pub(crate) function: Function,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Output,
    /// Whether a fault was found: then it is a stub, with the types that could be written instead.
    pub(crate) is_faulty: bool,
}

impl Unit {
    /// Reads a function that is to be a `what`, and reports what it cannot be.
    pub(crate) fn read(function: Function, root: Root, what: &str, faults: &mut Faults) -> Self {
        refuse_qualifiers(&function, what, faults);
        let sig = &function.sig;
        if let Some(receiver) = argument::receiver(sig.inputs.iter()) {
            faults.at(
                receiver,
                format!(
                    "a {what} has no `self`: make it a free function, or state with methods an `#[actor]`"
                ),
            );
        }
        Unit {
            arguments: argument::read(sig.inputs.iter(), Streams::Refused, faults),
            output: Output::read(&sig.output, faults),
            root,
            function,
            is_faulty: false,
        }
    }

    /// The value, and in one constant the function, its `Deref` and `impls`.
    pub(crate) fn expand(&self, impls: &TokenStream) -> TokenStream {
        let Function { attrs, vis, sig, .. } = &self.function;
        let (cfgs, described) = (attributes::cfgs(attrs), attributes::described(attrs));
        let function = self.verbatim();
        let name = &sig.ident;
        let deref = self.deref();
        let allow = attributes::allow_deprecated(attrs);
        quote! {
            #(#cfgs)*
            #(#described)*
            #[allow(non_camel_case_types)]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            #vis struct #name {}

            #(#cfgs)*
            #(#described)*
            #[doc(hidden)]
            #[allow(non_upper_case_globals)]
            #allow
            #vis static #name: #name = #name {};

            #(#cfgs)*
            const _: () = {
                #function

                #deref

                #impls
            };
        }
    }

    /// The function as it was written; in a stub as dead code, since what is wrong in its body is a fault of its own.
    fn verbatim(&self) -> Option<TokenStream> {
        let Function { attrs, sig, body, .. } = &self.function;
        let inner = attributes::inner(attrs);
        match self.is_faulty {
            false => Some(quote!(#(#inner)* #sig #body)),
            true if argument::receiver(sig.inputs.iter()).is_some() => None,
            true => Some(quote!(#(#inner)* #[allow(dead_code)] #sig #body)),
        }
    }

    fn deref(&self) -> TokenStream {
        let name = &self.function.sig.ident;
        let allow = self.allow();
        let (ty, value) = match self.function.is_async() {
            true => self.boxed(),
            false => self.plain(),
        };
        // With the span of the name: a type that is more private than the function is reported there.
        let target = quote_spanned!(name.span()=> type Target = #ty;);
        quote! {
            #[automatically_derived]
            #allow
            impl ::core::ops::Deref for #name {
                #target
                fn deref(&self) -> &Self::Target {
                    const FUNCTION: #ty = #value;
                    &FUNCTION
                }
            }
        }
    }

    /// The pointer to a function that is not async, and its value.
    fn plain(&self) -> (TokenStream, TokenStream) {
        let sig = &self.function.sig;
        let name = &sig.ident;
        if self.is_faulty {
            let output = &self.output.ty;
            return self.unreachable(&quote!(#output));
        }
        let types = self.arguments.iter().map(|argument| &argument.ty);
        let output = &sig.output;
        (quote!(fn(#(#types),*) #output), quote!(#name))
    }

    /// The pointer to a function that boxes the future of an async one, and its value.
    ///
    /// The future of an async function has no name, so it cannot be in the type of a function pointer. It is not
    /// `Send`, since the body need not be; the one of `Task::call` is, where the body is.
    fn boxed(&self) -> (TokenStream, TokenStream) {
        let private = &self.root.private;
        let name = &self.function.sig.ident;
        let lent = self.arguments.iter().any(Argument::is_borrowed);
        let (binder, lifetime) = match lent {
            true => (quote!(for<'lent>), quote!('lent)),
            false => (quote!(), quote!('static)),
        };
        let types = self
            .arguments
            .iter()
            .map(|argument| match types::peel(&argument.ty) {
                Type::Reference(reference) => {
                    let behind = &reference.elem;
                    quote!(&'lent #behind)
                }
                ty => quote!(#ty),
            });
        let output = &self.output.ty;
        let output = match self.output.shape {
            // On stable, `!` can be written only as what a function returns.
            Shape::Never => quote!(<fn() -> ! as #private::Returning>::Output),
            _ => quote!(#output),
        };
        if self.is_faulty {
            return self.unreachable(&quote!(#private::LocalBoxFuture<'static, #output>));
        }
        let names: Vec<_> = self.arguments.iter().map(|argument| &argument.hidden).collect();
        (
            quote!(#binder fn(#(#types),*) -> #private::LocalBoxFuture<#lifetime, #output>),
            quote!(|#(#names),*| ::std::boxed::Box::pin(#name(#(#names),*))),
        )
    }

    /// A pointer to a function that takes what the faulty one takes.
    fn unreachable(&self, output: &TokenStream) -> (TokenStream, TokenStream) {
        let types = self.arguments.iter().map(|argument| &argument.faulty);
        let blanks = self.arguments.iter().map(|_| quote!(_));
        (
            quote!(fn(#(#types),*) -> #output),
            quote!(|#(#blanks),*| ::core::unreachable!()),
        )
    }

    /// What takes the input apart for [`Unit::call`].
    pub(crate) fn names(&self) -> TokenStream {
        match self.is_faulty {
            false => argument::names(&self.arguments),
            true => quote!(_),
        }
    }

    /// A call of the function with the parts of its input, as a `Result`.
    pub(crate) fn call(&self) -> TokenStream {
        if self.is_faulty {
            return quote!(::core::unreachable!());
        }
        self.output.flatten(&self.plain_call())
    }

    /// The same, with the output as it is.
    pub(crate) fn plain_call(&self) -> TokenStream {
        let name = &self.function.sig.ident;
        let lent = self.arguments.iter().map(|argument| {
            let hidden = &argument.hidden;
            argument.lend(&self.root, &quote!(#hidden))
        });
        let dot_await = self.function.is_async().then(|| quote!(.await));
        quote!(#name(#(#lent),*) #dot_await)
    }

    /// `encode_input` and `decode_input`.
    pub(crate) fn coding(&self) -> TokenStream {
        let Root { root, .. } = &self.root;
        let (input, out, bytes) = (local("input"), local("out"), local("bytes"));
        let names = argument::names(&self.arguments);
        let encode = argument::encode(&self.arguments, &self.root, &quote!(#out), |argument| {
            let hidden = &argument.hidden;
            quote!(#hidden)
        });
        let decode = argument::decode(&self.arguments, &self.root, &quote!(#bytes));
        let (unused_out, unused_bytes) = match self.arguments.is_empty() {
            true => (quote!(_), quote!(_)),
            false => (quote!(#out), quote!(#bytes)),
        };
        quote! {
            fn encode_input(
                #input: &Self::Input,
                #unused_out: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), #root::Error> {
                let #names = #input;
                #encode
                ::core::result::Result::Ok(())
            }
            fn decode_input(#unused_bytes: &mut &[u8]) -> ::core::result::Result<Self::Input, #root::Error> {
                #decode
            }
        }
    }

    /// `row`: the entry of the registry, inside the function, where no name of the user's can meet it.
    pub(crate) fn row(&self, kind: &TokenStream) -> TokenStream {
        let name = &self.function.sig.ident;
        let signature = types::fingerprint(self.signature());
        row(&self.root, name, kind, &quote!(#name), &signature)
    }

    /// The types of the arguments and the output: what two builds have to agree on.
    fn signature(&self) -> TokenStream {
        let types = self.arguments.iter().map(|argument| &argument.ty);
        let output = &self.output.ty;
        let codec = self.root.codec.signature();
        quote!(fn(#(#types),*) -> #output #codec)
    }

    /// The lints that naming the user's items from generated code would set off.
    pub(crate) fn allow(&self) -> TokenStream {
        let deprecated = attributes::allow_deprecated(&self.function.attrs);
        let unreachable =
            matches!(self.output.shape, Shape::Never).then(|| quote!(#[allow(unreachable_code)]));
        quote!(#deprecated #unreachable)
    }
}

/// Reads `function`, and gives what `sound` makes of it, or the faults with a stub that can be used in its place.
pub(crate) fn expand(
    function: Function,
    root: Root,
    what: &str,
    mut faults: Faults,
    sound: impl Fn(&Unit) -> TokenStream,
) -> TokenStream {
    let verbatim = (!function.sig.generics.params.is_empty()).then(|| function.clone());
    let mut unit = Unit::read(function, root, what, &mut faults);
    if faults.is_empty() {
        return sound(&unit);
    }
    unit.is_faulty = true;
    let faults = faults.into_tokens();
    // The types of a generic function have no names outside of it.
    let stub = match verbatim {
        Some(function) => quote!(#function),
        None => sound(&unit),
    };
    quote!(#faults #stub)
}

/// A name for generated code that no name of the user's can meet.
pub(crate) fn local(name: &str) -> syn::Ident {
    syn::Ident::new(name, Span::mixed_site())
}

/// The function `row` of `implementor`.
pub(crate) fn row(
    Root { private, .. }: &Root,
    name: &syn::Ident,
    kind: &TokenStream,
    implementor: &TokenStream,
    signature: &TokenStream,
) -> TokenStream {
    let text = name.unraw().to_string();
    // The place of the name: `line!()` would otherwise be that of the attribute.
    let (file, line, column) = (
        quote_spanned!(name.span()=> ::core::file!()),
        quote_spanned!(name.span()=> ::core::line!()),
        quote_spanned!(name.span()=> ::core::column!()),
    );
    quote! {
        fn row() -> &'static #private::Row {
            #[#private::linkme::distributed_slice(#private::ROWS)]
            #[linkme(crate = #private::linkme)]
            static ROW: #private::Row = #private::Row::#kind::<#implementor>(#private::Key {
                module: ::core::module_path!(),
                name: #text,
                file: #file,
                line: #line,
                column: #column,
                signature: #signature,
            });
            &ROW
        }
    }
}

/// Reports what makes a function more than input in, output out.
fn refuse_qualifiers(function: &Function, what: &str, faults: &mut Faults) {
    let sig = &function.sig;
    if !sig.generics.params.is_empty() {
        faults.at(
            &sig.generics,
            format!(
                "a {what} cannot be generic: another process has to know its types by name; write them out"
            ),
        );
    }
    if let Some(constness) = &sig.constness {
        faults.at(
            constness,
            format!("a {what} runs in a process: leave `const` out"),
        );
    }
    if !matches!(sig.safety, Safety::Default) {
        faults.at(
            &sig.safety,
            format!("a {what} is called by this library: write a safe function around it"),
        );
    }
    if let Some(abi) = &sig.abi {
        faults.at(abi, format!("a {what} is a Rust function: leave the ABI out"));
    }
    if let Some(variadic) = &sig.variadic {
        faults.at(variadic, format!("a {what} has a fixed number of arguments"));
    }
}
