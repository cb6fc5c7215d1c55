//! The compact codec: an actor, a task, a pool and a service that use it, and what it refuses.

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use procession::prelude::*;
use procession::{ErrorKind, Fd, Sender, SharedBytes};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use tests::{Marker, within};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    account: u64,
    amount: i64,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Order {
    Deposit { account: u64, amount: i64 },
    Note(u64, String),
    Clear,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Refused {
    Overdrawn { missing: i64 },
    Nothing,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What a compact codec does not carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Loose {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    maybe: Option<u8>,
}

struct Ledger {
    entries: Vec<Entry>,
}

#[actor(codec = "compact")]
impl Ledger {
    #[init]
    fn new(entries: Vec<Entry>, _opened: &str) -> Self {
        Ledger { entries }
    }
    fn take(&mut self, order: &Order) -> Result<Entry, Refused> {
        let entry = match order.clone() {
            Order::Deposit { account, amount } if amount < 0 => {
                return Err(Refused::Overdrawn {
                    missing: -amount - account as i64,
                });
            }
            Order::Deposit { account, amount } => Entry {
                account,
                amount,
                note: None,
            },
            Order::Note(account, note) => Entry {
                account,
                amount: 0,
                note: Some(note),
            },
            Order::Clear => return Err(Refused::Nothing),
        };
        self.entries.push(entry.clone());
        Ok(entry)
    }
    fn entries(&self) -> impl Stream<Item = Entry> + use<> {
        stream::iter(self.entries.clone())
    }
    fn blocks(&self, sizes: Vec<usize>) -> impl Stream<Item = Vec<u8>> + use<> {
        stream::iter(sizes).map(|size| block(size).to_vec())
    }
    fn same(&self, head: Entry, block: Bytes, tail: Option<Option<()>>) -> Bytes {
        assert_eq!((head.note, tail), (None, Some(None)));
        block
    }
    /// Handles and shared memory, as values.
    async fn handles(&self, file: Fd<File>, shared: SharedBytes, other: LedgerRef) -> Result<u64, String> {
        let mut read = Vec::new();
        let mut file = file.into_inner();
        file.rewind().map_err(|error| error.to_string())?;
        file.read_to_end(&mut read).map_err(|error| error.to_string())?;
        let n = other.count().await.map_err(|error| error.to_string())?;
        Ok((read.len() + shared.len()) as u64 + n)
    }
    async fn send(&self, to: Sender<Entry>) {
        for entry in self.entries.clone() {
            to.send(entry).await.expect("a receiver");
        }
    }
    fn count(&self) -> u64 {
        self.entries.len() as u64
    }
    fn loose(&self, loose: Loose) -> Loose {
        Loose {
            maybe: loose.maybe.filter(|n| *n > 1),
        }
    }
    fn json(&self, value: serde_json::Value) -> String {
        value.to_string()
    }
}

#[task(codec = "compact")]
fn apply(order: Order, block: &[u8]) -> Result<(Entry, u64), Refused> {
    match order {
        Order::Deposit { account, amount } => Ok((
            Entry {
                account,
                amount,
                note: None,
            },
            block.len() as u64,
        )),
        Order::Note(..) => Err(Refused::Overdrawn { missing: 1 }),
        Order::Clear => Err(Refused::Nothing),
    }
}

#[task(codec = "compact")]
fn loosen(n: u8) -> Loose {
    Loose {
        maybe: (n > 0).then_some(n),
    }
}

#[service(codec = "compact")]
async fn announce(entry: Entry, reached: Marker) {
    assert_eq!(entry, self::entry(7));
    reached.reach();
    std::future::pending().await
}

fn entry(n: u64) -> Entry {
    Entry {
        account: n,
        amount: -(n as i64),
        note: (n % 2 == 1).then(|| format!("note {n}")),
    }
}

fn block(len: usize) -> Bytes {
    (0..len).map(|n| (n / 251 + n) as u8).collect()
}

const SIZES: [usize; 5] = [0, 1000, (64 << 10) - 1, (64 << 10) + 1, 1 << 20];

async fn ledger(n: u64) -> LedgerRef {
    let entries = (0..n).map(entry).collect();
    Ledger::spawn(entries, "today").await.unwrap()
}

#[procession::test]
async fn arguments_answers_and_errors_of_an_actor_arrive_as_they_were() {
    let ledger = ledger(3).await;
    let deposit = Order::Deposit {
        account: 5,
        amount: 80_000,
    };
    assert_eq!(ledger.take(&deposit).await.unwrap().amount, 80_000);
    let note = Order::Note(6, "żółw".to_owned());
    assert_eq!(ledger.take(&note).await.unwrap().note.unwrap(), "żółw");
    let overdraw = Order::Deposit {
        account: 1,
        amount: -5,
    };
    let refused = ledger.take(&overdraw).await.unwrap_err();
    assert!(
        matches!(refused, CallError::Failed(Refused::Overdrawn { missing: 4 })),
        "{refused:?}"
    );
    let refused = ledger.take(&Order::Clear).await.unwrap_err();
    assert!(
        matches!(refused, CallError::Failed(Refused::Nothing)),
        "{refused:?}"
    );
    assert_eq!(ledger.count().await.unwrap(), 5);
}

#[procession::test]
async fn items_of_streams_arrive_as_they_were() {
    let ledger = ledger(100).await;
    let entries: Vec<_> = within("the items", ledger.entries().await.unwrap().try_collect())
        .await
        .unwrap();
    assert_eq!(entries, (0..100).map(entry).collect::<Vec<_>>());
    let blocks: Vec<_> = within(
        "the items",
        ledger.blocks(SIZES.to_vec()).await.unwrap().try_collect(),
    )
    .await
    .unwrap();
    assert_eq!(blocks, SIZES.map(block));
}

#[procession::test]
async fn blocks_of_every_size_go_beside_compact_values() {
    let ledger = ledger(0).await;
    for size in SIZES {
        let same = ledger.same(entry(2), block(size), Some(None)).await.unwrap();
        assert_eq!(same, block(size));
    }
}

#[procession::test]
async fn descriptors_shared_memory_refs_and_channels_travel_in_compact_values() {
    let (one, other) = (ledger(1).await, ledger(4).await);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"seven..").unwrap();
    let shared = SharedBytes::from_slice(b"shared").unwrap();
    let n = one.handles(file.into(), shared, other.clone()).await.unwrap();
    assert_eq!(n, 7 + 6 + 4);
    let (to, mut from) = procession::channel(1).unwrap();
    let sent = other.send(to);
    let read = async {
        let mut all = Vec::new();
        while let Ok(Some(entry)) = from.recv().await {
            all.push(entry);
        }
        all
    };
    let (sent, read) = within("the entries", async { tokio::join!(sent, read) }).await;
    sent.unwrap();
    assert_eq!(read, (0..4).map(entry).collect::<Vec<_>>());
}

#[procession::test]
async fn a_task_takes_and_gives_compact_values_alone_and_in_a_pool() {
    let deposit = |n| Order::Deposit {
        account: n,
        amount: 1,
    };
    let alone = Process::spawn(apply, (deposit(1), block(70_000).to_vec()))
        .await
        .unwrap();
    assert_eq!(alone.join().await.unwrap().1, 70_000);
    let failed = Process::spawn(apply, (Order::Clear, Vec::new())).await.unwrap();
    let error = failed.join().await.unwrap_err();
    assert!(matches!(error, TaskError::Failed(Refused::Nothing)), "{error:?}");

    let pool = Pool::new(2).await.unwrap();
    let inputs = (0..500).map(|n| match n % 50 {
        49 => (Order::Note(n, "no".to_owned()), Vec::new()),
        48 => (deposit(n), block(70_000).to_vec()),
        _ => (deposit(n), vec![1]),
    });
    let outputs: Vec<_> = within("the outputs", pool.map(apply, inputs).stream().collect()).await;
    assert_eq!(outputs.len(), 500);
    for (n, output) in outputs.into_iter().enumerate() {
        match (n % 50, output) {
            (49, output) => {
                let failed = matches!(output, Err(TaskError::Failed(Refused::Overdrawn { missing: 1 })));
                assert!(failed, "{output:?}");
            }
            (at, output) => {
                let (entry, len) = output.unwrap();
                assert_eq!(entry.account, n as u64);
                assert_eq!(len, if at == 48 { 70_000 } else { 1 });
            }
        }
    }
}

#[procession::test]
async fn a_service_takes_compact_values() {
    let reached = Marker::new();
    let service = announce.spawn(entry(7), reached.clone()).await.unwrap();
    within("the service", reached.reached(1)).await;
    service.stop().await.unwrap();
}

#[procession::test]
async fn a_value_that_the_compact_codec_does_not_carry_is_an_error_with_the_remedy() {
    let remedy = "leave `codec = \"compact\"` out";
    let ledger = ledger(0).await;
    let errors = [
        ledger.loose(Loose { maybe: None }).await.unwrap_err().to_string(),
        ledger
            .loose(Loose { maybe: Some(1) })
            .await
            .unwrap_err()
            .to_string(),
        ledger
            .json(serde_json::json!({"a": 1}))
            .await
            .unwrap_err()
            .to_string(),
    ];
    assert!(
        errors[0].contains("cannot encode `compact::Loose`"),
        "{}",
        errors[0]
    );
    assert!(errors[2].contains("cannot decode `serde_json"), "{}", errors[2]);
    for error in errors {
        assert!(error.contains(remedy), "{error}");
    }
    assert_eq!(
        ledger.loose(Loose { maybe: Some(2) }).await.unwrap().maybe,
        Some(2)
    );

    let alone = Process::spawn(loosen, 0).await.unwrap();
    let error = alone.join().await.unwrap_err();
    let TaskError::Other(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains(remedy), "{error}");
    let pool = Pool::new(1).await.unwrap();
    let error = pool.run(loosen, 0).await.unwrap_err();
    assert!(error.to_string().contains(remedy), "{error}");
    assert_eq!(pool.run(loosen, 3).await.unwrap().maybe, Some(3));
}
