//! What can be typed.

mod trying;

pub(crate) use trying::{Bench, Prove};

use chat::{Address, parse_servers};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// A replicated chat that keeps running while any one of its replicas lives.
#[derive(Debug, Parser)]
#[command(
    name = "trialogue",
    version,
    about,
    after_help = "\
Examples:
  trialogue up                                   start three replicas on this machine
  trialogue chat                                 chat on the whole screen
  trialogue create-account alice                 make an account, and log in
  trialogue send --as alice bob \"hello\"          send a message
  trialogue listen --as bob                      hear what comes
  trialogue demo                                 watch two replicas die while people chat

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no replica served in time,
4 done, but kept on fewer replicas than were asked for."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line, or ends the process with what is wrong with it.
    pub(crate) fn read() -> Self {
        let matches = Self::command().get_matches();
        let mut arguments = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let named = |matches: &ArgMatches| matches.value_source("servers") == Some(ValueSource::CommandLine);
        let command = matches.subcommand().map(|(_, command)| command);
        arguments.common.servers_named = named(&matches) || command.is_some_and(named);
        arguments
    }
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where the replicas listen; any one of them is enough. A bare port stands on the host before it
    #[arg(
        long,
        global = true,
        env = "TRIALOGUE_SERVERS",
        default_value = "127.0.0.1:5100,5101,5102",
        value_name = "A,B,C",
        value_parser = servers
    )]
    pub(crate) servers: Servers,
    /// Whether they were named on the command line
    #[arg(skip)]
    pub(crate) servers_named: bool,
    /// How long to wait for a replica that serves, such as 500ms, 10s or 1m
    #[arg(long, global = true, default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// A list of addresses.
#[derive(Clone, Debug)]
pub(crate) struct Servers(pub(crate) Vec<Address>);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the replicas on this machine, and restart any that dies
    Up(Up),
    /// Run one replica, for other supervisors
    Replica(Replica),
    /// Show who is alive, in sync, and the primary
    Status(Status),
    /// Make an account, and log in
    CreateAccount(CreateAccount),
    /// Open a session and keep it
    Login(Account),
    /// Close the session
    Logout(Caller),
    /// Delete an account, with its sessions and what was not delivered to it
    DeleteAccount(Account),
    /// Set a new password; other sessions end
    ChangePassword(ChangePassword),
    /// Chat on the whole screen
    Chat(Chat),
    /// Send a message, or each line of standard input as one
    Send(Send),
    /// Print messages as they come, and acknowledge what was printed
    Listen(Listen),
    /// List accounts
    Accounts(Accounts),
    /// Show a conversation
    History(History),
    /// Compare the replicas: op, chain, and every row of every table
    Verify(Verify),
    /// Let a replica serve that may lack acknowledged messages
    Recover(Recover),
    /// Watch two people chat while replicas are killed, in a temporary folder
    Demo,
    /// Measure how quick the service is, beside what this machine could do at most
    Bench(Bench),
    /// Hurt three replicas in every way for a while, and count what was lost, doubled or disordered
    Prove(Prove),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trialogue up --data ~/chat --port 6000 --replicas 5\n  trialogue up --playground --data /tmp/playground"
)]
pub(crate) struct Up {
    /// Where everything is kept
    #[arg(long, default_value = "./trialogue-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Replica i listens on 127.0.0.1 at this port + i
    #[arg(long, default_value_t = 5100, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=65_528))]
    pub(crate) port: u16,
    /// How many replicas
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) replicas: u8,
    /// Leave a replica that dies dead
    #[arg(long)]
    pub(crate) no_restart: bool,
    /// Let any user of this machine kill, pause and restart replicas on the cluster page, beside a conversation that
    /// counts what is lost; two accounts are made for it
    #[arg(long)]
    pub(crate) playground: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trialogue chat                 go on as the account that logged in last, or sign in
  trialogue chat alice           as alice

/help shows the commands and keys. Without colours where NO_COLOR is set.")]
pub(crate) struct Chat {
    /// As whom
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trialogue replica --config trialogue.toml --index 1")]
pub(crate) struct Replica {
    /// The cluster's settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Which of the replicas
    #[arg(long, value_name = "I")]
    pub(crate) index: usize,
    /// Use the addresses of --servers, not those of the settings
    #[arg(long, hide = true)]
    pub(crate) addresses_from_servers: bool,
    /// Where the cluster page gives its orders
    #[arg(long, hide = true, value_name = "ADDRESS", value_parser = address)]
    pub(crate) playground: Option<Address>,
    /// End when standard input closes, so that no stray process is left behind
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trialogue status --json
  trialogue status --watch              until Ctrl-C: how things stand, and how each view came about")]
pub(crate) struct Status {
    /// Go on showing it, with the latest changes of the view
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The password comes from --password-stdin, else from TRIALOGUE_PASSWORD, else from a prompt.

Example:
  echo \"correct horse\" | trialogue login alice --password-stdin")]
pub(crate) struct Account {
    /// The account's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) password: PasswordSource,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The password comes from --password-stdin, else from TRIALOGUE_PASSWORD, else from a prompt. Without --data you are logged in, too.

Examples:
  echo \"correct horse\" | trialogue create-account alice --password-stdin
  echo \"correct horse\" | trialogue create-account alice --password-stdin --data ./trialogue-data")]
pub(crate) struct CreateAccount {
    #[command(flatten)]
    pub(crate) account: Account,
    /// For the operator, where registration is closed: the folder of `trialogue up`, whose key is proven to the service
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordSource {
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Caller {
    /// Whose session to use, if there are several
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --password-stdin the first line of standard input is the old password, the second the new one. Otherwise they come
from TRIALOGUE_PASSWORD and TRIALOGUE_NEW_PASSWORD, else from prompts.")]
pub(crate) struct ChangePassword {
    /// The account's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) password: PasswordSource,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trialogue send --as alice bob \"hello\"
  git log | trialogue send bob
  seq 1000 | trialogue send --as alice bob --stdin-lines")]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) caller: Caller,
    /// To whom
    pub(crate) to: String,
    /// What; without it, all of standard input
    #[arg(conflicts_with = "stdin_lines")]
    pub(crate) text: Option<String>,
    /// Send each line of standard input as one message, in order, without waiting for each
    #[arg(long)]
    pub(crate) stdin_lines: bool,
    /// Refuse, without effect, when fewer replicas are in sync; ask again while fewer hold it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) min_copies: u32,
    /// Print one JSON object a message: id, copies, replicas
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --after it begins with what the account has not acknowledged yet. An outage ends nothing: once it
listens, it goes on when a replica serves again, and misses no message.

Examples:
  trialogue listen --as bob
  trialogue listen --as bob --count 1 --json")]
pub(crate) struct Listen {
    #[command(flatten)]
    pub(crate) caller: Caller,
    /// Begin after this message
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<u64>,
    /// End after N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print one JSON object a message: id, from, to, text, `sent_at`
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trialogue accounts\n  trialogue accounts '^(al|bo)'\n  trialogue accounts --glob 'al*'"
)]
pub(crate) struct Accounts {
    #[command(flatten)]
    pub(crate) caller: Caller,
    /// A regular expression, matched anywhere in the name, ignoring case
    #[arg(value_name = "REGEX", conflicts_with = "glob")]
    pub(crate) pattern: Option<String>,
    /// A glob for the whole name: * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB")]
    pub(crate) glob: Option<String>,
    /// Print one JSON object an account: id, name
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Shows the newest messages, oldest first. A deleted account is found by its name, or by '#' and its number.

Example:
  trialogue history --as alice bob --limit 20")]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) caller: Caller,
    /// With whom
    pub(crate) with: String,
    /// How many messages
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Only messages before this one
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<u64>,
    /// Print one JSON object a message
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --data the databases are compared row by row; otherwise, or with --servers, the replicas are asked for digests of
their tables. They give them to those who have the cluster's key, which is read from the folder or by --key-file, and never
sent. Writes may go on.

Exit codes: 0 the replicas are the same; 1 they differ, or could not be compared; 2 there is no key.

Examples:
  trialogue verify                                          the key is in ./trialogue-data
  trialogue verify --data ./trialogue-data
  trialogue verify --servers 127.0.0.1:5100 --key-file ~/chat/cluster.key")]
pub(crate) struct Verify {
    /// The folder of `trialogue up`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The file of the cluster's key; without it, the one in the folder
    #[arg(long, env = "TRIALOGUE_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Use it only when the replicas that were in sync are gone for good, or when the view register was lost, copied or put back. It
makes the replica that was in sync by the newest view that can be read (or the one that --replica names) the only one in
sync, and begins a new history, so that clients learn of the loss.

Example:
  trialogue recover --data ./trialogue-data --accept-data-loss")]
pub(crate) struct Recover {
    /// The folder of `trialogue up`, which must not be running
    #[arg(long, default_value = "./trialogue-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Which replica; without it, the best by what the register and the databases know
    #[arg(long, value_name = "I")]
    pub(crate) replica: Option<usize>,
    /// Accept that messages which were acknowledged may be lost
    #[arg(long)]
    pub(crate) accept_data_loss: bool,
    /// Let time begin anew at this machine's clock, after a clock was wrong long enough that every request is refused
    #[arg(long, requires = "accept_data_loss")]
    pub(crate) set_time_back: bool,
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|refusal| refusal.to_string())
}

fn servers(list: &str) -> Result<Servers, String> {
    parse_servers(list).map(Servers).map_err(|refusal| refusal.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 =
        digits.parse().map_err(|_| "write a number and a unit, such as 500ms, 10s or 1m".to_owned())?;
    let duration = match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err("the unit is not one of ms, s, m".into()),
    };
    if duration.is_zero() || duration > Duration::from_hours(24) {
        return Err("give more than nothing and at most a day".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for bad in ["", "s", "-1s", "0s", "1h", "99999999m", "1.5s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
