//! What the library costs, beside what the machine can do at best, measured in the same run.
//!
//! ```text
//! cargo bench -p benches                  # a Markdown table; five rounds, about three minutes
//! cargo bench -p benches -- --brief       # everything once, in seconds: to see that it works
//! cargo bench -p benches -- --rounds 9
//! cargo bench -p benches -- --json        # one round as JSON lines
//! cargo bench -p benches -- --section current-thread --only starts    # one step, or some with commas, for a profile
//! ```
//!
//! A round starts this program once for each [`Section`](section::Section), in turn: the raw limits, the library on a
//! current-thread runtime, on the default one, and with children that are started by exec. So what is compared was
//! measured within seconds, and a ratio is taken within one round. A cell is the median over the rounds, with the least
//! and the most.
//!
//! | module | what |
//! | --- | --- |
//! | `workload` | what is done: sizes, counts, the function that costs five milliseconds |
//! | `record` | a figure, and how it is written |
//! | `kernel` | what `/proc` says of memory and time |
//! | `raw` | the limits: sockets and forks, nothing in between |
//! | `ours` | the same work done with the library |
//! | `sleep` | calls of sides that sleep |
//! | `shared` | shared memory as a message |
//! | `links` | what idle links hold |
//! | `pairs` | 200 items of 5 ms, alternating with two raw processes |
//! | `section` | one start of this program |
//! | `table` | all rounds, and the table |

mod kernel;
mod links;
mod ours;
mod pairs;
mod raw;
mod record;
mod section;
mod shared;
mod sleep;
mod table;
mod workload;

/// The program.
pub fn main() {
    section::main();
}
