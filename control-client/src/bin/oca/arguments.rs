use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use control_client::config::CONFIG_PATH;
use control_client::content::{BundlePath, Generation};
use control_client::units::{QuantityError, parse_duration};

/// Watch and steer an open cache appliance, and work on its store.
#[derive(Parser)]
#[command(name = "oca", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done (health: healthy), 1 failed (health: unhealthy), 64 wrong usage, \
                          69 daemon or agent unreachable, 78 wrong configuration";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// What runs, how it is configured, where it listens, and what the fill agent does
    Status(Asking),
    /// The verdict, its reasons, and the headroom; exits with 0 when healthy, else 1
    Health(Asking),
    /// The bundles that the appliance holds
    Inventory(Asking),
    /// The metrics, in Prometheus's text format
    Metrics(Asking),
    /// Take a bundle into the inventory that lies in a volume
    Adopt(AdoptArguments),
    /// Take a bundle out, and wait until its space has returned
    Retire(RetireArguments),
    /// Stop serving a directory, or what was pulled from upstream
    Purge(PurgeArguments),
    /// Have clients steered elsewhere, to unplug the appliance safely
    Drain(DrainArguments),
    /// Serve again
    Undrain(Asking),
    /// What the fill agent would do, does and did
    Fill {
        #[command(subcommand)]
        command: FillCommand,
    },
    /// Check a configuration file without touching the daemon
    CheckConfig(CheckArguments),
    /// Make a directory a volume (oca-store)
    #[command(disable_help_flag = true)]
    Init(Forwarded),
    /// Turn a directory of media into bundles (oca-store)
    #[command(disable_help_flag = true)]
    Import(Forwarded),
    /// Read a volume back, and say what is wrong (oca-store)
    #[command(disable_help_flag = true)]
    Verify(Forwarded),
    /// Show what is in a bundle (oca-store)
    #[command(disable_help_flag = true)]
    Inspect(Forwarded),
    /// Make a large synthetic store, for tests and benchmarks (oca-store)
    #[command(disable_help_flag = true)]
    Generate(Forwarded),
}

/// Which daemon to ask, and how to show what it says.
#[derive(Args)]
pub(crate) struct Asking {
    /// Print the document as it was received
    #[arg(long)]
    pub(crate) json: bool,
    /// The daemon's Unix socket [default: admin.socket of the configuration]
    #[arg(long, value_name = "PATH", conflicts_with = "address")]
    pub(crate) socket: Option<PathBuf>,
    /// Ask over TCP instead; takes no changes
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// The configuration that names the socket [default: /etc/oca/config.toml]
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// How long to wait for the answer, for example "30 s"
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Subcommand)]
pub(crate) enum FillCommand {
    /// What a run would fetch, retire and leave out now, and why
    Plan(AskingAgent),
    /// Begin a run now, whatever the window says, and follow it; exits with 0 when it completed, else 1
    Run(RunArguments),
    /// Follow the run under way, or wait for the next one; exits with 0 when it completed, else 1
    Follow(AskingAgent),
    /// The last runs, or one of them with its sources and failures
    History(HistoryArguments),
}

/// Which agent to ask, and how to show what it says.
#[derive(Args)]
pub(crate) struct AskingAgent {
    /// Print documents as they are received, one a line where there are several
    #[arg(long)]
    pub(crate) json: bool,
    /// The agent's Unix socket [default: fill.socket of the configuration]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The configuration that names the socket [default: /etc/oca/config.toml]
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// How long to wait for each answer, for example "30 s"
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// Do not wait for the end of the run
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) asking: AskingAgent,
}

#[derive(Args)]
pub(crate) struct HistoryArguments {
    /// Only this run, whole
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) asking: AskingAgent,
}

#[derive(Args)]
pub(crate) struct AdoptArguments {
    /// The volume's directory, or its id
    pub(crate) volume: String,
    /// The bundle's file, relative to bundles/ of the volume
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Args)]
pub(crate) struct RetireArguments {
    /// The directory that the bundle serves, for example /titles/abc/1080p
    pub(crate) path: BundlePath,
    /// Only this generation
    #[arg(long, value_name = "NUMBER", value_parser = generation)]
    pub(crate) generation: Option<Generation>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Args)]
pub(crate) struct PurgeArguments {
    /// The directory, for example /titles/abc; of what was pulled from upstream an object, too
    pub(crate) path: BundlePath,
    /// Everything below it, too; what was pulled goes without this as well
    #[arg(long)]
    pub(crate) prefix: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Args)]
pub(crate) struct DrainArguments {
    /// Wait until nothing is in flight
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The file
    #[arg(default_value = CONFIG_PATH)]
    pub(crate) file: PathBuf,
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Forwarded {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) arguments: Vec<OsString>,
}

fn generation(text: &str) -> Result<Generation, std::num::ParseIntError> {
    text.parse().map(Generation::new)
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error: QuantityError| error.to_string())?;
    if duration.is_zero() { Err("must be above 0".to_owned()) } else { Ok(duration) }
}
