use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use control_client::content::BundlePath;
use control_client::units::ByteCount;

/// Volumes and bundles on disk
#[derive(Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a directory a volume
    Init(InitArguments),
    /// Turn a directory tree into bundles, one for each directory that holds files
    Import(ImportArguments),
    /// Read a volume back, every byte of it, and say what is wrong; exits with 1 where something is
    Verify(VerifyArguments),
    /// Show what is in a bundle
    Inspect(InspectArguments),
    /// Make a large synthetic store, for tests and benchmarks
    Generate(GenerateArguments),
}

#[derive(Args)]
pub(crate) struct InitArguments {
    /// The directory; made where it does not exist
    pub(crate) volume: PathBuf,
    /// Use an isolated volume again, once its disk has been checked or replaced; nothing else is changed
    #[arg(long)]
    pub(crate) readmit: bool,
    /// Refuse a directory where no disk is mounted
    #[arg(long, conflicts_with = "readmit")]
    pub(crate) mount_required: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ImportArguments {
    /// The directory tree
    pub(crate) directory: PathBuf,
    /// The path under which it is served, such as /titles/abc
    #[arg(long = "as", value_name = "PATH")]
    pub(crate) as_path: BundlePath,
    /// The volume that gets it
    #[arg(long)]
    pub(crate) volume: PathBuf,
    /// The socket of the daemon that uses the volume, which is told to adopt the bundles
    #[arg(long)]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The volume
    pub(crate) volume: PathBuf,
    /// Say what is read, on standard error
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct InspectArguments {
    /// A bundle's file, or a volume
    pub(crate) file: PathBuf,
    /// The bundle's path, on a volume; without it the volume's inventory is shown
    pub(crate) path: Option<BundlePath>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct GenerateArguments {
    /// The volume; no daemon may use it
    pub(crate) volume: PathBuf,
    /// How many bundles
    #[arg(long, default_value_t = 100)]
    pub(crate) bundles: u32,
    /// How many objects in each
    #[arg(long, default_value_t = 100)]
    pub(crate) objects: u32,
    /// The size of an object on average; each has between half and one and a half of it
    #[arg(long, default_value = "1 MiB")]
    pub(crate) object_bytes: ByteCount,
    /// What sizes and bytes follow from
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The number of the first bundle
    #[arg(long, default_value_t = 0)]
    pub(crate) first_bundle: u32,
    /// The directory under which the bundles are
    #[arg(long, default_value = "/synthetic")]
    pub(crate) prefix: BundlePath,
    /// Write no data: objects are holes, which read as zeroes
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
