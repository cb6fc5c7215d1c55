//! Memory that processes share, between real processes.

use nix::sys::signal::Signal;
use procession::prelude::*;
use procession::{CallError, Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tests::{until, within};

/// How many mappings of shared slices or arrays a process has.
fn n_mapped(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let ours =
        |line: &&str| line.contains("memfd:procession-shared") || line.contains("memfd:procession-array");
    maps.lines().filter(ours).count()
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scene {
    name: SharedStr,
    points: SharedSlice<[f32; 3]>,
    image: Option<SharedBytes>,
}

fn scene(n_points: usize) -> Scene {
    let points = (0..n_points).map(|n| [n as f32, 0.0, -1.0]);
    Scene {
        name: SharedStr::new(&"scene ".repeat(n_points)).unwrap(),
        points: SharedSlice::from_exact_iter(points).unwrap(),
        image: Some(SharedBytes::with(n_points * 4, |room| room.fill(9)).unwrap()),
    }
}

fn is_whole(scene: &Scene, n_points: usize) -> bool {
    scene.points.len() == n_points
        && scene
            .points
            .iter()
            .enumerate()
            .all(|(n, point)| *point == [n as f32, 0.0, -1.0])
        && scene.name.matches("scene").count() == n_points
        && scene
            .image
            .as_ref()
            .is_some_and(|image| image.iter().all(|byte| *byte == 9))
}

#[derive(Default)]
struct Stage(Option<Scene>);

#[actor]
impl Stage {
    fn show(&mut self, scene: Scene, n_points: usize) -> bool {
        let whole = is_whole(&scene, n_points);
        self.0 = Some(scene);
        whole
    }

    fn shown(&self) -> Option<Scene> {
        self.0.clone()
    }

    fn points(&self) -> Option<SharedSlice<[f32; 3]>> {
        Some(self.0.as_ref()?.points.clone())
    }

    fn clear(&mut self) {
        self.0 = None;
    }

    fn n_mapped(&self) -> usize {
        n_mapped(std::process::id())
    }

    fn paint(&self, n_points: usize) -> Scene {
        scene(n_points)
    }
}

#[procession::test]
async fn shared_memory_goes_into_a_call_and_comes_back_in_its_answer() {
    let stage = Stage::spawn().await.unwrap();
    for n_points in [0, 1, 10_000] {
        assert!(stage.show(scene(n_points), n_points).await.unwrap());
        assert!(is_whole(&stage.shown().await.unwrap().unwrap(), n_points));
        assert!(is_whole(&stage.paint(n_points).await.unwrap(), n_points));
    }
}

#[procession::test]
async fn what_comes_back_is_the_same_memory_and_is_unmapped_with_its_last_handle() {
    let stage = Stage::spawn().await.unwrap();
    let scene = scene(10_000);
    assert!(stage.show(scene.clone(), 10_000).await.unwrap());
    assert!(stage.show(scene.clone(), 10_000).await.unwrap());
    assert_eq!(stage.n_mapped().await.unwrap(), 3);
    let points = stage.points().await.unwrap().unwrap();
    assert_eq!(points.as_ptr(), scene.points.as_ptr());
    stage.clear().await.unwrap();
    // It is held for a moment longer, for the next message with it.
    let unmapped = async {
        while stage.n_mapped().await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("the last mapping", unmapped).await;
}

#[task]
fn sum(numbers: SharedSlice<f64>, from: usize, to: usize) -> f64 {
    numbers[from..to].iter().sum()
}

#[task]
fn count_up(n: u64) -> SharedSlice<u64> {
    SharedSlice::from_exact_iter((0..n as usize).map(|n| n as u64)).unwrap()
}

#[procession::test]
async fn one_slice_serves_every_item_of_a_map() {
    let pool = Pool::new(3).await.unwrap();
    let numbers = SharedSlice::from_exact_iter((0..1_000_000).map(f64::from)).unwrap();
    let parts = (0..500).map(|n| (numbers.clone(), n * 2000, (n + 1) * 2000));
    let sums = within("a map", pool.map(sum, parts)).await.unwrap();
    assert_eq!(sums.iter().sum::<f64>(), 499_999_500_000.0);
}

#[procession::test]
async fn slices_come_out_of_a_pool() {
    let pool = Pool::new(2).await.unwrap();
    let lengths = (0..300).map(|n| n * 10);
    let slices = within("a map", pool.map(count_up, lengths)).await.unwrap();
    assert!(
        slices
            .iter()
            .zip(0..)
            .all(|(slice, n)| slice.iter().copied().eq(0..n * 10))
    );
}

#[procession::test]
async fn memory_outlives_the_process_that_made_it() {
    let process = Process::spawn(count_up, 100_000).await.unwrap();
    let pid = process.pid();
    let slice = process.join().await.unwrap();
    until("its maker is gone", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    })
    .await;
    assert!(slice.iter().copied().eq(0..100_000));
}

struct Tally {
    seen: Array<u8>,
    lives: Array<u32>,
    words: SharedSlice<u64>,
}

#[actor]
impl Tally {
    #[init]
    fn new(seen: Array<u8>, lives: Array<u32>, words: SharedSlice<u64>) -> Self {
        lives.fetch_add(0, 1);
        Tally { seen, lives, words }
    }

    fn mark(&self, n: usize) {
        self.seen.store(n, 1);
    }

    fn life(&self) -> u32 {
        self.lives.load(0)
    }

    fn word(&self, n: usize) -> u64 {
        self.words[n]
    }
}

#[procession::test]
async fn every_incarnation_has_the_memory_that_init_was_given() {
    let seen = Array::<u8>::zeroed(100).unwrap();
    let lives = Array::<u32>::zeroed(1).unwrap();
    let words = SharedSlice::from_exact_iter((0..10_000_usize).map(|n| n as u64)).unwrap();
    let spec =
        Tally::spec(seen.clone(), lives.clone(), words).intensity(100, std::time::Duration::from_secs(60));
    let tally = spec.spawn().await.unwrap();
    for life in 1..=3 {
        tally.mark(life).await.unwrap();
        assert_eq!(tally.life().await.unwrap(), life as u32);
        assert_eq!(tally.word(9_999).await.unwrap(), 9_999);
        tally.kill().await.unwrap();
    }
    tally.ready().await.unwrap();
    assert_eq!(lives.load(0), 4);
    assert_eq!(
        (0..100).filter(|n| seen.load(*n) == 1).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[task]
fn add(cells: Array<i64>, times: usize, n: i64) {
    for index in 0..times {
        cells.fetch_add(index % cells.len(), n);
    }
}

#[task]
fn beyond(cells: Array<u8>) {
    let _ = cells.load(10);
}

#[procession::test]
async fn cells_are_added_to_by_many_processes_and_none_is_lost() {
    let cells = Array::<i64>::zeroed(3).unwrap();
    let pool = Pool::new(3).await.unwrap();
    let items = (0..30).map(|n| (cells.clone(), 3000, if n % 3 == 0 { -1 } else { 1 }));
    within("a map", pool.map(add, items)).await.unwrap();
    assert_eq!(cells.to_vec(), [10_000; 3]);
}

#[procession::test]
async fn an_index_beyond_the_end_is_a_panic_at_its_place() {
    let cells = Array::zeroed(10).unwrap();
    let process = Process::spawn(beyond, cells).await.unwrap();
    let line = line!() - 14;
    match process.join().await {
        Err(TaskError::Died {
            reason: ExitReason::Panicked(panic),
            ..
        }) => {
            assert_eq!(
                panic.message,
                "index out of bounds: the len is 10 but the index is 10"
            );
            assert!(
                panic.location.contains("shared_memory.rs"),
                "{} {line}",
                panic.location
            );
        }
        other => panic!("{other:?}"),
    }
}

/// A slice as it is received, which its sender wrote as it liked: as a peer that is broken or hostile would.
enum Crooked {
    Received(SharedSlice<u64>),
    Sent(Sent),
}

/// How a slice travels.
#[derive(Serialize)]
enum Sent {
    Sealed(procession::Fd<std::fs::File>, u64),
}

impl Serialize for Crooked {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Crooked::Received(slice) => slice.serialize(serializer),
            Crooked::Sent(sent) => sent.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Crooked {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedSlice::deserialize(deserializer).map(Crooked::Received)
    }
}

#[derive(Default)]
struct Reader;

#[actor]
impl Reader {
    fn first(&self, slice: Crooked) -> Option<u64> {
        match slice {
            Crooked::Received(slice) => slice.first().copied(),
            Crooked::Sent(_) => None,
        }
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

fn memfd(sealed: bool) -> std::fs::File {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let fd = memfd_create(c"hostile", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    nix::unistd::ftruncate(&fd, 8192).unwrap();
    if sealed {
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    }
    fd.into()
}

#[procession::test]
async fn a_receiver_that_is_sent_what_could_change_under_it_refuses_it_and_lives() {
    let reader = Reader::spawn().await.unwrap();
    let pid = reader.pid().await.unwrap();
    let send = async |file: std::fs::File, len| {
        let sent = Crooked::Sent(Sent::Sealed(file.into(), len));
        match reader.first(sent).await {
            Ok(first) => Ok(first),
            Err(CallError::Other(error)) => Err(error.to_string()),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(send(memfd(true), 8192).await, Ok(Some(0)));
    for (file, len, why) in [
        (memfd(false), 8192, "not sealed"),
        (memfd(true), 8200, "8192 bytes where 8200 were announced"),
        (memfd(true), 8191, "no number of items"),
        (memfd(true), 0, "8192 bytes"),
        (memfd(true), u64::MAX, "no number of items"),
        (std::fs::File::open("/dev/zero").unwrap(), 8192, "not sealed"),
    ] {
        let error = send(file, len).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(reader.pid().await.unwrap(), pid);
}

#[procession::test]
async fn more_than_there_is_memory_is_an_error_and_nobody_dies() {
    let error = SharedSlice::<u8>::with(1 << 45, |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("available"), "{error}");
    assert!(Array::<u64>::zeroed(1 << 42).is_err());
}

#[task]
fn fails_to_share(n_files: u64) -> std::result::Result<String, Error> {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, n_files, n_files).map_err(Error::new)?;
    match SharedSlice::from_slice(&[0_u8; 100_000]) {
        Ok(_) => Ok(String::new()),
        Err(error) => Ok(error.to_string()),
    }
}

#[procession::test]
async fn a_process_that_can_open_no_more_is_told_so_where_it_makes_shared_memory() {
    let process = Process::spawn(fails_to_share, 5).await.unwrap();
    let error = process.join().await.unwrap();
    assert!(error.contains("RLIMIT_NOFILE is 5"), "{error}");
}

#[task]
fn holds(slice: SharedSlice<u64>) -> u64 {
    if slice[0] == 0 {
        nix::sys::signal::raise(Signal::SIGKILL).unwrap();
    }
    slice[0]
}

#[procession::test]
async fn nothing_is_left_of_memory_whose_holders_died() {
    let before = n_mapped(std::process::id());
    let slice = SharedSlice::with(1 << 20, |room| room[1] = 1).unwrap();
    let process = Process::spawn(holds, slice.clone()).await.unwrap();
    process.join().await.unwrap_err();
    assert_eq!((slice[0], slice[1]), (0, 1));
    let inode = {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps
            .lines()
            .find(|line| line.starts_with(&format!("{:x}-", slice.as_ptr() as usize)));
        line.unwrap().split_whitespace().nth(4).unwrap().to_owned()
    };
    drop(slice);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(&format!(" {inode} ")), "{before} before\n{maps}");
}
