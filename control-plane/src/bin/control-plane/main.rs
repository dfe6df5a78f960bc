//! `control-plane`: the reference control plane and its operator's command. The table of contents of a
//! process's life: arguments, configuration, one command.

mod appliances;
mod arguments;
mod directives;
mod failure;
mod keys;
mod moment;
mod output;
mod owner;
mod plan;
mod publish;
mod rank;
mod serve;
mod sites;
mod steer;
mod titles;

use std::process::ExitCode;

use clap::Parser as _;
use control_client::config::{Config, ControlPlaneConfig, Reader};
use control_plane::database::Database;
use control_plane::registry::SiteChange;

use arguments::{
    ApplianceCommand, Arguments, Command, DirectiveCommand, KeysCommand, PrefixCommand, SiteCommand,
    TitleCommand,
};
use failure::Failure;
use output::Output;

/// What every command is given.
struct Session {
    config: Config,
    output: Output,
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        // EX_USAGE, unless it was asked for (--help, --version).
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("control-plane: {failure}");
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = Config::load_for(&arguments.config, Reader::ControlPlane)?;
    owner::check(&config.control_plane)?;
    let session = Session { config, output: Output { json: arguments.json, explain: arguments.explain } };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(async {
        match arguments.command {
            Command::Serve => serve::serve(&session).await,
            Command::Publish(publication) => publish::publish(&session, publication).await,
            Command::Title(TitleCommand::List) => titles::list(&session).await,
            Command::Title(TitleCommand::Change(change)) => titles::change(&session, change).await,
            Command::Title(TitleCommand::Remove { name, purge }) => {
                titles::remove(&session, &name, purge).await
            }
            Command::Title(TitleCommand::Purge { name }) => titles::purge(&session, &name).await,
            Command::Rank(question) => rank::rank(&session, question).await,
            Command::Plan(question) => plan::plan(&session, question).await,
            Command::Steer(question) => steer::steer(&session, question).await,
            Command::Site(SiteCommand::Add(site)) => sites::add(&session, site).await,
            Command::Site(SiteCommand::Change { name, region, upstream, no_upstream }) => {
                let upstream = if no_upstream { Some(None) } else { upstream.map(Some) };
                sites::change(&session, &name, SiteChange { region, upstream }).await
            }
            Command::Site(SiteCommand::Remove { name }) => sites::remove(&session, &name).await,
            Command::Site(SiteCommand::List) => sites::list(&session).await,
            Command::Prefix(PrefixCommand::Add { site, prefixes }) => {
                sites::add_prefixes(&session, &site, &prefixes).await
            }
            Command::Prefix(PrefixCommand::Remove { prefixes }) => {
                sites::remove_prefixes(&session, &prefixes).await
            }
            Command::Appliance(ApplianceCommand::Add { name, site }) => {
                appliances::add(&session, &name, &site).await
            }
            Command::Appliance(ApplianceCommand::Token { name }) => appliances::token(&session, &name).await,
            Command::Appliance(ApplianceCommand::Change { name, site, link }) => {
                appliances::change(&session, &name, site, link).await
            }
            Command::Appliance(ApplianceCommand::Remove { name }) => {
                appliances::remove(&session, &name).await
            }
            Command::Appliance(ApplianceCommand::List) => appliances::list(&session).await,
            Command::Drain { appliance } => appliances::drain(&session, &appliance).await,
            Command::Undrain { appliance } => appliances::undrain(&session, &appliance).await,
            Command::Purge { appliance, path, prefix } => {
                appliances::purge(&session, &appliance, path, prefix).await
            }
            Command::FillNow { appliance } => appliances::fill_now(&session, &appliance).await,
            Command::Directive(DirectiveCommand::List { appliance, waiting }) => {
                directives::list(&session, appliance, waiting).await
            }
            Command::Keys(KeysCommand::New) => keys::new(&session),
            Command::Keys(KeysCommand::List) => keys::list(&session),
            Command::Keys(KeysCommand::Retire { id }) => keys::retire(&session, &id),
        }
    })
}

impl Session {
    fn control_plane(&self) -> &ControlPlaneConfig {
        &self.config.control_plane
    }

    async fn database(&self) -> Result<Database, Failure> {
        Ok(Database::open(&self.control_plane().database).await?)
    }
}
