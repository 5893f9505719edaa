//! The arguments of what tries the service out: `bench` and `prove`.

use clap::{Args, value_parser};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Without --servers three replicas are started in a temporary folder: the primary is killed a few times, one replica lacks what
was written meanwhile and catches up, and then the same is measured with many accounts and messages, and beside listeners.
With it, a service that runs is measured: 16 accounts are made and deleted again, and nothing is killed or filled.

Beside each figure stands its limit, measured in turn in the same run: a do-nothing call of the same message to a process of
its own, an fdatasync on this disk, the log and the tables alone. Compare ratios, not figures: machines differ, and so does one
machine by the hour. docs/performance.md says what each figure is.

Examples:
  trialogue bench
  trialogue bench --json --kills 20 --accounts 0
  trialogue bench --accounts 1000000 --messages 1200000 --listeners 1000,10000 --charts charts
  trialogue bench --servers 127.0.0.1:5100,5101,5102 --seconds 3")]
pub(crate) struct Bench {
    /// How long each round of a rate takes
    #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How often the primary is killed
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) kills: usize,
    /// How many entries a replica lacks that catches up: at most as many as a log keeps
    #[arg(long, default_value_t = 50_000, value_name = "N", value_parser = value_parser!(u32).range(..=100_000))]
    pub(crate) entries: u32,
    /// How many accounts there are where cost is measured with many; 0 for not at all
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = accounts)]
    pub(crate) accounts: u64,
    /// How many messages there are then
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = value_parser!(u64).range(..=1_000_000_000))]
    pub(crate) messages: u64,
    /// How many listeners there are then, at a time; at most one an account, and 20,000
    #[arg(long, default_value = "1000", value_name = "N,N", value_delimiter = ',', value_parser = listeners)]
    pub(crate) listeners: Vec<usize>,
    /// Draw the figures that a picture shows better, as SVG files in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) charts: Option<PathBuf>,
    /// Print one JSON object, and no progress
    #[arg(long)]
    pub(crate) json: bool,
    /// Be the do-nothing server, at this port
    #[arg(long, hide = true, value_name = "PORT")]
    pub(crate) nothing: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
In a temporary folder, with processes of its own: kill -9, SIGSTOP, restarts, wiped folders, full disks, and connections
that are slow, stall, break or end half way, while people write, listen, come and go. At the end every acknowledged message
must have been heard once, in order, and all replicas must be equal. Ctrl-C ends the faults and counts.

Exit codes: 0 nothing was lost, doubled or disordered; 1 something was.

Examples:
  trialogue prove --minutes 10
  trialogue prove --minutes 1 --seed 7 --json")]
pub(crate) struct Prove {
    /// For how long faults strike
    #[arg(long, default_value_t = 1.0, value_name = "N", value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Which faults strike when; by default another each time
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print one JSON object with the counts at the end, and no story
    #[arg(long)]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, such as 1 or 0.5".to_owned())?;
    if seconds > 0.0 && seconds <= 3600.0 {
        Ok(seconds)
    } else {
        Err("give more than 0 and at most 3600".into())
    }
}

fn accounts(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(accounts) if accounts <= 100_000_000 => Ok(accounts),
        _ => Err("write a number of accounts, such as 20000".into()),
    }
}

fn listeners(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(listeners) if (1..=20_000).contains(&listeners) => Ok(listeners),
        _ => Err("write numbers from 1 to 20000, such as 1000,10000".into()),
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "write a number of minutes, such as 10 or 0.5".to_owned())?;
    if minutes > 0.0 && minutes <= 10_000.0 {
        Ok(minutes)
    } else {
        Err("give more than 0 and at most 10000".into())
    }
}
