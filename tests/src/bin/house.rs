//! A program with everything in it that may be left behind. Its argument says how it ends.

use procession::prelude::*;
use procession::{Strategy, stopping};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Prints when it is stopped, and has a grandchild of the host in its process group.
struct Room {
    name: String,
    sleeper: Option<Child>,
}

#[actor]
impl Room {
    #[init]
    fn new(name: String, with_grandchild: bool) -> procession::Result<Self> {
        let sleeper =
            with_grandchild.then(|| Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn());
        Ok(Room {
            name,
            sleeper: sleeper.transpose()?,
        })
    }
    fn process(&self) -> (u32, Option<u32>) {
        (std::process::id(), self.sleeper.as_ref().map(Child::id))
    }
    /// Starts one more process, which is this one's.
    async fn furnish(&self) -> procession::Result<u32> {
        Ok(sleeper().await?.pid())
    }
    /// Never reads another message.
    fn lock(&self) {
        loop {
            std::thread::park();
        }
    }
    #[terminate]
    fn leave(&mut self) {
        println!("bye {}", self.name);
    }
}

#[task]
fn sleep() {
    loop {
        std::thread::park();
    }
}

async fn sleeper() -> procession::Result<Process<sleep>> {
    Process::builder(sleep, ())
        .shutdown(Duration::from_millis(20))
        .spawn()
        .await
}

#[task]
fn overflow_on_a_thread() {
    let thread = std::thread::Builder::new().spawn(|| tests::Fault::StackOverflow.strike());
    let _ = thread.expect("a thread").join();
}

#[service]
async fn clock() -> procession::Result<()> {
    stopping().await?;
    println!("bye clock");
    Ok(())
}

/// Does not stop when it is told to.
#[service]
async fn stubborn() -> procession::Result<()> {
    stopping().await?;
    println!("stubborn");
    std::future::pending::<()>().await;
    Ok(())
}

struct House {
    pool: Pool,
    _rooms: Vec<RoomRef>,
    _busy: Process<sleep>,
}

async fn build(with_a_stubborn_one: bool) -> procession::Result<House> {
    let mut house = Supervisor::new("house")
        .strategy(Strategy::RestForOne)
        .child(Room::spec("cellar".to_owned(), true).name("cellar"))
        .child(
            Supervisor::new("upstairs")
                .child(clock.spec().name("clock"))
                .child(Room::spec("attic".to_owned(), false).name("attic")),
        )
        .child(Room::spec("roof".to_owned(), true).name("roof"));
    if with_a_stubborn_one {
        house = house.child(
            stubborn
                .spec()
                .name("stubborn")
                .shutdown(Duration::from_secs(600)),
        );
    }
    house.start().await?;
    let alone = Room::spawn("shed".to_owned(), false).await?;
    alone.furnish().await?;
    let cellar = RoomRef::lookup("cellar").await?;
    cellar.furnish().await?;
    let pool = Pool::new(2).await?;
    let busy = sleeper().await?;
    Ok(House {
        pool,
        _rooms: vec![alone, cellar],
        _busy: busy,
    })
}

#[procession::main]
async fn main() -> procession::Result<()> {
    let how = std::env::args().nth(1).unwrap_or_default();
    if how == "overflow" {
        println!(
            "reason {}",
            Process::spawn(overflow_on_a_thread, ()).await?.wait().await
        );
        return Ok(());
    }
    let house = build(how == "stubborn").await?;
    if let Some(server) = procession::in_use().await?.fork_server {
        println!("guarded by {server}");
    }
    println!("up");
    match how.as_str() {
        "return" => Ok(()),
        "fail" => Err(procession::Error::msg("as asked")),
        "panic" => panic!("as asked"),
        "exit" => std::process::exit(7),
        // It hears of the end of what it waits for, and panics, while everything is being stopped.
        "unwrap" => {
            house.pool.run(sleep, ()).await.expect("a result");
            Ok(())
        }
        _ => {
            // An item that never ends, while the program is killed.
            let _ = house.pool.run(sleep, ()).await;
            Ok(())
        }
    }
}
