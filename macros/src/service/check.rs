//! What a service is beyond a task: async, and without a value.

use crate::fault::Faults;
use crate::function::Function;
use crate::types;
use syn::{ReturnType, Type};

pub(crate) fn check(function: &Function, faults: &mut Faults) {
    if !function.is_async() {
        let name = &function.sig.ident;
        faults.at(
            function.sig.fn_token,
            format!("a service is stopped where it awaits: write `async fn {name}`"),
        );
    }
    if let ReturnType::Type(_, ty) = &function.sig.output
        && !is_valueless(ty)
    {
        faults.at(
            ty,
            "nobody waits for the value of a service: return nothing, `Result<(), E>` or `!`",
        );
    }
}

/// Whether it is `()`, `!`, or a `Result` without a value.
fn is_valueless(ty: &Type) -> bool {
    if types::is_unit(ty) || matches!(types::peel(ty), Type::Never(_)) {
        return true;
    }
    types::last_segment(ty).is_some_and(|last| {
        let value = types::arguments(last).first().copied();
        last.ident == "Result" && value.is_none_or(is_nothing)
    })
}

/// Whether it is `()` or a type without values.
fn is_nothing(ty: &Type) -> bool {
    let empty = |last: &syn::PathSegment| last.ident == "Never" || last.ident == "Infallible";
    types::is_unit(ty) || types::last_segment(ty).is_some_and(empty)
}
