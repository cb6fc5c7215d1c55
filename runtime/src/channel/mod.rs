//! Pipes and channels whose ends are values: they travel in messages, and are handed on.
//!
//! | file | what |
//! | --- | --- |
//! | `pipe` | two ends that both send and receive |
//! | `mpsc` | many senders, one receiver |
//! | `oneshot` | one value, once |
//! | `watch`, `broadcast` | one sender, many receivers |
//! | `fan` | how its values come to all of them |
//! | `door` | how senders come to the receiver |
//! | `feed` | streams that are arguments of a method |
//! | `line` | what they are all made of: items both ways, and ends that travel |
//! | `item` | values to items and back |
//! | `envelope` | descriptors that one process can have, once |
//! | `waiters` | all who wait for one transport |
//!
//! **Promised.** Items arrive in the order in which one end sent them, each once. What was read and not received goes along
//! when an end travels. Memory is bounded by the channel's capacity and 4 MiB each way: who sends faster than the other side receives waits.
//!
//! **Refused.** An end outside a message of this library is not serialised. An end that was sent is gone from where it was;
//! the same message, received a second time (a retried item, the `init` of a restarted actor), has it no more.

pub mod broadcast;
mod door;
mod envelope;
mod fan;
pub(crate) mod feed;
mod item;
mod line;
pub mod mpsc;
pub mod oneshot;
pub(crate) mod pipe;
mod waiters;
pub mod watch;
