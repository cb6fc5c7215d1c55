//! Whom a process talks to: one connection for each pair of a runtime and an actor, made when it is first needed.
//!
//! A connection belongs to the runtime whose reactor drives it, so the table is keyed by both. It holds peers weakly:
//! when the last ref to an actor is dropped in a runtime, its connection closes, after what it had accepted was sent.

use crate::error::Result;
use crate::process::control::{self, Answered};
use crate::wire::control::{Request, Target};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime;

use super::conn::Conn;

type Table = HashMap<(runtime::Id, Target), Weak<Peer>>;

static PEERS: Mutex<Option<Table>> = Mutex::new(None);

/// An actor, as one runtime of this process knows it.
#[derive(Debug)]
pub(crate) struct Peer {
    key: (runtime::Id, Target),
    row: u32,
    live: Mutex<Option<Arc<Conn>>>,
    /// Whose turn it is to connect: first come, first served, so that messages keep their order.
    turn: tokio::sync::Mutex<()>,
}

impl Peer {
    /// The peer of the current runtime for that actor.
    pub(crate) fn of(target: &Target, row: u32) -> Result<Arc<Peer>> {
        let runtime = control::within_runtime("a message")?.id();
        let key = (runtime, target.clone());
        let mut peers = lock(&PEERS);
        let table = peers.get_or_insert_default();
        if let Some(peer) = table.get(&key).and_then(Weak::upgrade) {
            return Ok(peer);
        }
        let peer = Arc::new(Peer {
            key: key.clone(),
            row,
            live: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        table.insert(key, Arc::downgrade(&peer));
        Ok(peer)
    }

    pub(crate) fn runtime(&self) -> runtime::Id {
        self.key.0
    }

    /// The connection to the living incarnation; waits while there is none.
    pub(crate) async fn connect(&self) -> Result<Arc<Conn>> {
        if let Some(conn) = self.live() {
            return Ok(conn);
        }
        let _turn = self.turn.lock().await;
        if let Some(conn) = self.live() {
            return Ok(conn);
        }
        let request = Request::Introduce {
            target: self.key.1.clone(),
            row: self.row,
        };
        self.adopt(control::client().ask(request).await?)
    }

    /// Takes a link that came with another answer.
    pub(crate) fn adopt(&self, answered: Answered) -> Result<Arc<Conn>> {
        let conn = Conn::open(answered)?;
        *lock(&self.live) = Some(conn.clone());
        Ok(conn)
    }

    /// The connection, while it takes messages.
    pub(crate) fn live(&self) -> Option<Arc<Conn>> {
        lock(&self.live).as_ref().filter(|conn| conn.is_open()).cloned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(conn) = lock(&self.live).take() {
            conn.close();
        }
        if let Some(table) = lock(&PEERS).as_mut()
            && table.get(&self.key).is_some_and(|peer| peer.strong_count() == 0)
        {
            table.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
