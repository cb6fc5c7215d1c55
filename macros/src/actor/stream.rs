//! Methods that return a stream: `impl Stream<Item = T> + use<>`, or a `Result` of one.

use crate::fault::Faults;
use crate::streamed;
use crate::types;
use syn::{GenericArgument, PathArguments, ReturnType, Type, TypeImplTrait, parse_quote};

/// What a method that returns a stream returns.
pub(super) struct Streamed {
    /// The output, with the type of the items in place of the stream.
    pub(super) output: ReturnType,
    /// Whether it is a `Result` of a stream.
    pub(super) is_fallible: bool,
}

/// The stream that the method returns, if it returns one.
pub(super) fn read(output: &ReturnType, faults: &mut Faults) -> Option<Streamed> {
    let ReturnType::Type(arrow, ty) = output else {
        return None;
    };
    let (ty, is_fallible) = match types::peel(ty) {
        Type::ImplTrait(opaque) => (item(opaque, faults)?, false),
        Type::Path(_) => {
            let last = types::last_segment(ty).filter(|last| last.ident == "Result")?;
            let arguments = types::arguments(last);
            let Type::ImplTrait(opaque) = types::peel(arguments.first()?) else {
                return None;
            };
            let item = item(opaque, faults)?;
            let mut fallible = types::peel(ty).clone();
            put_first(&mut fallible, item);
            (fallible, true)
        }
        _ => return None,
    };
    Some(Streamed {
        output: ReturnType::Type(*arrow, Box::new(ty)),
        is_fallible,
    })
}

/// The items of an `impl Stream`; `()` where there is a fault, and `None` where it is no stream.
fn item(opaque: &TypeImplTrait, faults: &mut Faults) -> Option<Type> {
    let stream = opaque.bounds.iter().find_map(streamed::stream)?;
    if !streamed::captures_nothing(opaque) {
        faults.at(
            opaque,
            "a stream is read when its method is over, so it cannot borrow the actor: write `+ use<>` behind it",
        );
    }
    let item = streamed::item(stream);
    if item.is_none() {
        faults.at(
            opaque,
            "what are its items? write `impl Stream<Item = T> + use<>`",
        );
    }
    Some(item.map_or_else(|| parse_quote!(()), |item| item.ty.clone()))
}

/// Puts a type in the place of the first type argument.
fn put_first(ty: &mut Type, first: Type) {
    if let Type::Path(path) = ty
        && let Some(last) = path.path.segments.last_mut()
        && let PathArguments::AngleBracketed(arguments) = &mut last.arguments
        && let Some(argument) = arguments
            .args
            .iter_mut()
            .find(|argument| matches!(argument, GenericArgument::Type(_)))
    {
        *argument = GenericArgument::Type(first);
    }
}
