//! What an actor may be, and the actor as the rest of the expansion knows it.

use super::mailbox::Mailbox;
use super::parse::{Block, Item, Member, Role};
use super::stream::{self, Streamed};
use crate::argument::{self, Argument, Streams};
use crate::attributes;
use crate::fault::Faults;
use crate::function::{Function, text};
use crate::options::Options;
use crate::output::Output;
use crate::travel::Root;
use crate::types;
use quote::format_ident;
use syn::ext::IdentExt;
use syn::{FnArg, Ident, Lit, Meta, Receiver, ReceiverKind, ReturnType, Safety, Type};

/// Functions that are made on the type, so that no other of these names can be there.
const MADE: [&str; 2] = ["spawn", "spec"];

/// Functions that are made on the ref.
pub(super) const MADE_ON_REF: [&str; 3] = ["named", "lookup", "clone"];

pub(super) struct Actor {
    pub(super) root: Root,
    pub(super) ty: Type,
    pub(super) name: Ident,
    pub(super) handle: Ident,
    pub(super) marker: Ident,
    pub(super) mailbox: Option<Mailbox>,
    pub(super) init: Option<Init>,
    pub(super) terminate: Option<Terminate>,
    pub(super) methods: Vec<Method>,
    /// The functions of [`MADE`] that the user wrote too: a fault, and not made again.
    pub(super) taken: Vec<String>,
    pub(super) cfgs: Vec<syn::Attribute>,
}

pub(super) struct Init {
    pub(super) function: Function,
    pub(super) arguments: Vec<Argument>,
    pub(super) is_fallible: bool,
    /// Whether a fault was found in it.
    pub(super) is_broken: bool,
}

pub(super) struct Terminate {
    pub(super) function: Function,
    pub(super) takes_reason: bool,
}

pub(super) struct Method {
    pub(super) function: Function,
    pub(super) is_exclusive: bool,
    /// Whether it returns a stream: the output is then that of an item.
    pub(super) streams: bool,
    pub(super) arguments: Vec<Argument>,
    pub(super) output: Output,
    /// How often it may run again where a process died in the middle of it.
    pub(super) retries: u32,
    /// Whether a fault was found in it: the ref then has it by name alone.
    pub(super) is_broken: bool,
}

/// Checks a block, takes out of it what would be a second error, and gives the actor, unless it has no name.
pub(super) fn check(
    block: &mut Block,
    root: Root,
    mailbox: Option<Mailbox>,
    faults: &mut Faults,
) -> Option<Actor> {
    let name = name(block, faults)?;
    let mut actor = Actor {
        root,
        ty: block.ty.clone(),
        handle: format_ident!("{}Ref", name.unraw(), span = name.span()),
        marker: format_ident!("__{}Marker", name.unraw(), span = name.span()),
        mailbox,
        name,
        init: None,
        terminate: None,
        methods: Vec::new(),
        taken: Vec::new(),
        cfgs: attributes::cfgs(&block.attrs).into_iter().cloned().collect(),
    };
    let mut seen = Vec::<(Ident, bool)>::new();
    block.items.retain_mut(|item| {
        let Item::Function(member) = item else {
            return true;
        };
        let is_new = is_new(member, &mut seen, faults);
        if is_new {
            actor.add(member, faults);
            actor.name_streams(member);
        }
        is_new
    });
    Some(actor)
}

/// The name of the type: of a plain `impl` of a type without parameters.
fn name(block: &Block, faults: &mut Faults) -> Option<Ident> {
    if let Some(implemented) = &block.implemented {
        faults.at(
            implemented,
            format!(
                "`#[actor]` goes above the methods of the type itself: write `impl {}`",
                text(&block.ty)
            ),
        );
        return None;
    }
    if !block.generics.params.is_empty() {
        faults.at(
            &block.generics,
            "an actor cannot be generic: another process has to know its types by name; write them out",
        );
        return None;
    }
    let name = types::last_segment(&block.ty).map(|last| last.ident.clone());
    if name.is_none() {
        faults.at(&block.ty, "`#[actor]` goes above `impl` and the name of a type");
    }
    name
}

/// Whether the name is free: functions under different conditions may share one.
fn is_new(member: &Member, seen: &mut Vec<(Ident, bool)>, faults: &mut Faults) -> bool {
    let name = &member.function.sig.ident;
    let conditional = !attributes::cfgs(&member.function.attrs).is_empty();
    let twice = seen
        .iter()
        .any(|(other, other_conditional)| other == name && !(conditional && *other_conditional));
    if twice {
        faults.at(
            name,
            format!("there is already a `{name}`: a message names its method, so rename one of them"),
        );
    }
    seen.push((name.clone(), conditional));
    !twice
}

impl Actor {
    fn add(&mut self, member: &Member, faults: &mut Faults) {
        let mut found = Faults::default();
        self.check_roles(member, &mut found);
        self.check_made(member, &mut found);
        check_idempotent(member, &mut found);
        match member.role {
            Role::Init => self.add_init(member, &mut found),
            Role::Terminate => self.add_terminate(member, &mut found),
            Role::Method => self.add_method(member, &mut found),
            Role::Local | Role::Associated => {}
        }
        faults.append(found);
    }

    /// In a method that returns a stream, gives those that it takes their types: the one that it returns captures nothing, and what
    /// has no name could not be left out.
    fn name_streams(&self, member: &mut Member) {
        let Some(method) = self.methods.last() else { return };
        if member.role != Role::Method || !method.streams || method.is_broken {
            return;
        }
        let typed = member
            .function
            .sig
            .inputs
            .iter_mut()
            .filter_map(|input| match input {
                FnArg::Typed(typed) => Some(typed),
                FnArg::Receiver(_) => None,
            });
        for (typed, argument) in typed.zip(&method.arguments) {
            if let Some(stream) = &argument.stream {
                let ty = stream.read(&self.root);
                *typed.ty = syn::parse_quote!(#ty);
            }
        }
    }

    fn check_roles(&self, member: &Member, found: &mut Faults) {
        for role in &member.roles {
            if role.meta.require_path_only().is_err() {
                let name = text(role.path());
                found.at(role, format!("`#[{name}]` takes nothing: leave the brackets out"));
            }
        }
        for role in member.roles.iter().skip(1) {
            let name = text(role.path());
            found.at(role, format!("a function has one role: leave `#[{name}]` out"));
        }
    }

    fn check_made(&mut self, member: &Member, found: &mut Faults) {
        let ident = &member.function.sig.ident;
        let text = ident.unraw().to_string();
        if MADE.contains(&text.as_str()) {
            let name = &self.name;
            found.at(
                ident,
                format!("`{name}::{text}` is what starts the actor: give this another name"),
            );
            self.taken.push(text);
        } else if member.role == Role::Method && MADE_ON_REF.contains(&text.as_str()) {
            let handle = &self.handle;
            found.at(
                ident,
                format!("`{handle}` has a `{text}` of its own: rename this, or keep it here with `#[local]`"),
            );
        }
    }

    fn add_init(&mut self, member: &Member, found: &mut Faults) {
        let function = &member.function;
        let sig = &function.sig;
        if self.init.is_some() {
            found.at(&sig.ident, "an actor has one `#[init]`: leave it out here");
            return;
        }
        if let Some(receiver) = argument::receiver(sig.inputs.iter()) {
            found.at(
                receiver,
                "`#[init]` makes the actor, so there is no `self` yet: leave it out",
            );
        }
        refuse_qualifiers(function, "`#[init]`", found);
        refuse_condition(function, "`#[init]`", found);
        let arguments = self.arguments(function, Streams::Refused, found);
        let is_fallible = self.check_made_value(function, found);
        self.init = Some(Init {
            function: function.clone(),
            arguments,
            is_fallible,
            is_broken: !found.is_empty(),
        });
    }

    /// Checks that `#[init]` gives the actor or a `Result` of it, and says which.
    fn check_made_value(&self, function: &Function, found: &mut Faults) -> bool {
        let name = &self.name;
        let message = format!("`#[init]` makes the actor: return `Self`, or `Result<Self, E>`, of `{name}`");
        let ReturnType::Type(_, ty) = &function.sig.output else {
            found.at(&function.sig.ident, message);
            return false;
        };
        let is_actor = |ty: &Type| {
            types::last_segment(ty).is_some_and(|last| last.ident == "Self" || last.ident == *name)
        };
        let fallible = types::last_segment(ty).filter(|last| last.ident == "Result" && !is_actor(ty));
        let made = match fallible {
            Some(last) => types::arguments(last).first().copied(),
            None => Some(&**ty),
        };
        if !made.is_some_and(is_actor) {
            found.at(ty, message);
        }
        fallible.is_some()
    }

    fn add_terminate(&mut self, member: &Member, found: &mut Faults) {
        let function = &member.function;
        let sig = &function.sig;
        if self.terminate.is_some() {
            found.at(&sig.ident, "an actor has one `#[terminate]`: leave it out here");
            return;
        }
        match argument::receiver(sig.inputs.iter()) {
            Some(receiver) => {
                check_receiver(receiver, found);
            }
            None => found.at(
                &sig.ident,
                "`#[terminate]` says goodbye to the actor: take `&mut self`",
            ),
        }
        refuse_qualifiers(function, "`#[terminate]`", found);
        refuse_condition(function, "`#[terminate]`", found);
        let typed = sig.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_)));
        for input in typed
            .clone()
            .skip(1)
            .chain(typed.clone().take(1).filter(|input| !is_borrow(input)))
        {
            found.at(
                input,
                "`#[terminate]` is told why, and nothing else: take `reason: &ExitReason`",
            );
        }
        if let ReturnType::Type(_, ty) = &sig.output
            && !types::is_unit(ty)
        {
            found.at(ty, "nobody waits for what `#[terminate]` returns: return nothing");
        }
        self.terminate = found.is_empty().then(|| Terminate {
            function: function.clone(),
            takes_reason: typed.count() == 1,
        });
    }

    fn add_method(&mut self, member: &Member, found: &mut Faults) {
        let function = &member.function;
        refuse_qualifiers(function, "a method of an actor", found);
        let is_exclusive = argument::receiver(function.sig.inputs.iter())
            .is_some_and(|receiver| check_receiver(receiver, found));
        let arguments = self.arguments(function, Streams::Taken, found);
        let retries = retries(member, found);
        let streamed = stream::read(&function.sig.output, found);
        let output = match &streamed {
            Some(Streamed { output, is_fallible }) => {
                Output::read(output, found).of_stream(&self.ty, *is_fallible)
            }
            None => Output::read(&function.sig.output, found).without_self(&self.ty),
        };
        if let (Some(_), Some(attr)) = (&streamed, member.idempotent.first()) {
            found.at(
                attr,
                "a stream is not run again: what was read of it cannot be taken back; leave `#[idempotent]` out",
            );
        }
        if let (true, Some(attr)) = (
            arguments.iter().any(|argument| argument.stream.is_some()),
            member.idempotent.first(),
        ) {
            found.at(
                attr,
                "a stream is read once, so what reads one cannot run again: leave `#[idempotent]` out",
            );
        }
        self.methods.push(Method {
            function: function.clone(),
            retries,
            is_exclusive,
            streams: streamed.is_some(),
            arguments,
            output,
            is_broken: !found.is_empty(),
        });
    }

    fn arguments(&self, function: &Function, streams: Streams, found: &mut Faults) -> Vec<Argument> {
        argument::read(function.sig.inputs.iter(), streams, found)
            .into_iter()
            .map(|argument| argument.without_self(&self.ty))
            .collect()
    }
}

/// Reports what says twice, or of something else than a method, that it may run again.
fn check_idempotent(member: &Member, found: &mut Faults) {
    for attr in member.idempotent.iter().skip(1) {
        found.at(attr, "it is said above that it may run again: leave this out");
    }
    if member.role != Role::Method
        && let Some(attr) = member.idempotent.first()
    {
        found.at(
            attr,
            "only a method that is called by message can run again: leave `#[idempotent]` out",
        );
    }
}

/// How often a method may run again.
fn retries(member: &Member, found: &mut Faults) -> u32 {
    let Some(attr) = member.idempotent.first() else {
        return 0;
    };
    let tokens = match &attr.meta {
        Meta::Path(_) => return 1,
        Meta::List(list) => list.tokens.clone(),
        Meta::NameValue(_) => {
            found.at(attr, "write `#[idempotent]`, or `#[idempotent(retries = 3)]`");
            return 0;
        }
    };
    let options = Options::read(tokens, "idempotent", &[("retries", "3")], found);
    let retries = options.literal("retries", "3", found, |lit| match lit {
        Lit::Int(retries) => retries.base10_parse().ok().filter(|retries| *retries > 0),
        _ => None,
    });
    retries.unwrap_or(1)
}

/// Reports a `self` that is not borrowed plainly, and says whether it is borrowed exclusively.
fn check_receiver(receiver: &Receiver, found: &mut Faults) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(_, None, exclusive) => return exclusive.is_some(),
        ReceiverKind::Reference(_, Some(lifetime), _) => found.at(
            lifetime,
            "the actor is borrowed only while the method runs: leave the lifetime out",
        ),
        ReceiverKind::Typed(_, ty) => {
            if let Type::Reference(reference) = types::peel(ty) {
                return reference.mutability.is_some();
            }
            found.at(receiver, BY_VALUE);
        }
        _ => found.at(receiver, BY_VALUE),
    }
    false
}

const BY_VALUE: &str = "an actor cannot be moved out of its process: take `&self` or `&mut self`, or keep the method here with `#[local]`";

fn refuse_qualifiers(function: &Function, what: &str, found: &mut Faults) {
    let sig = &function.sig;
    if !sig.generics.params.is_empty() {
        found.at(
            &sig.generics,
            format!(
                "{what} cannot be generic: another process has to know its types by name; write them out"
            ),
        );
    }
    if let Some(constness) = &sig.constness {
        found.at(constness, format!("{what} runs in a process: leave `const` out"));
    }
    if !matches!(sig.safety, Safety::Default) {
        found.at(
            &sig.safety,
            format!("{what} is called by this library: write a safe one around it"),
        );
    }
    if let Some(abi) = &sig.abi {
        found.at(abi, format!("{what} is a Rust function: leave the ABI out"));
    }
}

fn refuse_condition(function: &Function, what: &str, found: &mut Faults) {
    for cfg in attributes::cfgs(&function.attrs) {
        found.at(
            cfg,
            format!("{what} cannot depend on a `cfg`: put it on what is in its body"),
        );
    }
}

fn is_borrow(input: &FnArg) -> bool {
    matches!(input, FnArg::Typed(typed) if matches!(types::peel(&typed.ty), Type::Reference(_)))
}
