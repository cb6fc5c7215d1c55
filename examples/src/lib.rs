//! The programs beside this file are the examples; there is no library.
