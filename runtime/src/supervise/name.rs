//! The names of children: what a name may be, and that no two children of a host have the same one.

use crate::error::{Error, ErrorKind, Result};
use std::collections::HashSet;

/// The longest name, in bytes.
const LONGEST: usize = 255;

/// Refuses a name that a log or a list could not show.
pub(crate) fn check(name: &str) -> Result<()> {
    if name.is_empty() {
        return invalid("the name of a child is empty: give it at least one character");
    }
    if name.len() > LONGEST {
        return invalid(format!(
            "the name of a child has {} bytes: at most {LONGEST} are allowed",
            name.len()
        ));
    }
    if let Some(bad) = name.chars().find(|c| c.is_control()) {
        return invalid(format!(
            "the name {name:?} contains {bad:?}: use printable characters"
        ));
    }
    Ok(())
}

/// Checks every name of a tree that is about to start, and that each is there once.
pub(crate) fn check_all<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        check(name)?;
        if !seen.insert(name) {
            return Err(taken(name));
        }
    }
    Ok(())
}

/// The error for a name that another child has.
pub(crate) fn taken(name: &str) -> Error {
    let message = format!("two children are named `{name}`: give each a name of its own");
    Error::with_kind(ErrorKind::Invalid, message)
}

fn invalid(message: impl std::fmt::Display) -> Result<()> {
    Err(Error::with_kind(ErrorKind::Invalid, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_children_of_one_name_are_refused_by_that_name() {
        let error = check_all(["ledger", "clock", "ledger"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("`ledger`"));
        check_all(["ledger", "clock"]).unwrap();
    }

    #[test]
    fn a_name_that_cannot_be_shown_is_refused() {
        for name in ["", "a\nb", &"x".repeat(256)] {
            assert_eq!(check(name).unwrap_err().kind(), ErrorKind::Invalid);
        }
        check("teller-1 Łódź").unwrap();
    }
}
