//! What a person is shown: nights and evenings, then a morning, and addresses to try until Ctrl-C.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use control_client::steering::SteeringAnswer;

use crate::catalogue::CatalogueOptions;
use crate::failure::{Failure, Step};
use crate::night::{self, NightOptions};
use crate::page::Page;
use crate::process::RoleProcess;
use crate::system::{System, SystemOptions, mebibytes};
use crate::title::TITLE_PATH;
use crate::viewer::name_of;

/// Shows everything, and runs until Ctrl-C.
pub async fn run(options: &NightOptions) -> Result<bool, Failure> {
    let program = std::env::current_exe().step("finding this program")?;
    let began = Instant::now();
    let mut say = |line: String| println!("{:>6.1} s  {line}", began.elapsed().as_secs_f64());
    let mut system = tokio::select! {
        system = show(&program, options, &mut say) => system?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.step("waiting for Ctrl-C")?;
            return Ok(true);
        }
    };
    system.add_far_viewers().await?;
    let mut page = Page::open(&system).await?;
    print_addresses(&system, &page);
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.step("waiting for Ctrl-C")?;
            println!("\nstopping");
            system.stop().await
        }
        attended = page.attend(&mut system) => attended.map(|()| true),
    }
}

/// The nights, the evenings between them, and the morning.
async fn show(
    program: &Path,
    options: &NightOptions,
    say: &mut dyn FnMut(String),
) -> Result<System, Failure> {
    let mut system = System::start(program, &options.system(), say).await?;
    for night in 0..options.nights.max(1) {
        if night > 0 && options.titles > 0 {
            say(format!("evening {night}: viewers ask the control plane where to go, and watch"));
            let known = system.members.iter().map(|member| format!("http://{}", member.http())).collect();
            let evening = options.evening(night - 1, known);
            let played = night::evening(&system, &evening).await?;
            say(format!("evening {night}: {} objects: {}", played.objects, played.senders_text()));
            for problem in played.problems.iter().take(5) {
                say(problem.clone());
            }
            if let Some(title) = night::day(&mut system, &evening, night).await? {
                say(format!("day {night}: {} appears in a new edition", system.titles[title].name));
            }
        }
        say(format!("night {}: ranking, manifests, fill", night + 1));
        night::wait_for_manifests(&system).await?;
        let filled = night::fill(&system).await?;
        for one in &filled {
            say(format!("{}: {}", one.appliance, night::sources_text(&one.run)));
        }
        println!("\n{}", night::table(&filled));
        for problem in night::problems(&filled) {
            say(problem);
        }
    }
    morning(&system, say).await?;
    Ok(system)
}

/// A client asks where to go, and plays.
async fn morning(system: &System, say: &mut dyn FnMut(String)) -> Result<(), Failure> {
    let viewer = system.viewer()?;
    for bundle in &system.sample.bundles {
        let answer = viewer.steer(&bundle.path, false).await?;
        let played = viewer.watch_by(&answer.candidates, bundle, 0, usize::MAX, system.tree()).await?;
        let sent =
            format!("{} objects, {}: {}", played.objects, mebibytes(played.bytes), played.senders_text());
        say(format!("morning: {} is at {}; played {sent}", bundle.path, list(&answer)));
        if let Some(problem) = played.problems.first() {
            return Err(Failure::new(problem.clone()));
        }
    }
    Ok(())
}

fn list(answer: &SteeringAnswer) -> String {
    let names: Vec<String> = answer.candidates.iter().map(name_of).collect();
    format!("{} for {} s", names.join(", then "), answer.ttl_seconds)
}

/// A command that runs beside the system.
#[derive(Args, Clone, Debug)]
pub struct Beside {
    /// How many appliances there are.
    #[arg(long, default_value_t = 1, requires = "run", value_name = "COUNT")]
    appliances: usize,
    /// A title beside the sample title: its name, and the directory of its files.
    #[arg(long, requires = "run", value_names = ["NAME", "DIRECTORY"], num_args = 2)]
    title: Option<Vec<String>>,
}

/// How often somebody looks whether a command has ended.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs a command beside a system whose appliances have the sample title; true when it succeeds. It finds the page's address in
/// `OCA_DEMO_PAGE`.
pub async fn run_beside(command: &Path, beside: &Beside) -> Result<bool, Failure> {
    let program = std::env::current_exe().step("finding this program")?;
    let catalogue = CatalogueOptions { titles: 0, title_bytes: 0, seed: 0 };
    // Room for what else is published.
    let options = SystemOptions { catalogue, appliances: beside.appliances, night_percent: 1_000 };
    let mut system = System::start(&program, &options, &mut |line| println!("{line}")).await?;
    system.add_far_viewers().await?;
    if let Some([name, directory]) = beside.title.as_deref() {
        system.add_title(name, Path::new(directory)).await?;
    }
    night::wait_for_manifests(&system).await?;
    let filled = night::fill(&system).await?;
    if let Some(problem) = night::problems(&filled).first() {
        return Err(Failure::new(problem.clone()));
    }
    let mut page = Page::open(&system).await?;
    let member = &system.members[0];
    let mut to_run = Command::new(command);
    to_run
        .env("OCA_DEMO_PAGE", page.url())
        .arg(format!("http://{}{TITLE_PATH}", member.http()))
        .arg(format!("https://localhost:{}{TITLE_PATH}", member.https().port()))
        .arg(&system.certificate.chain);
    let mut process = RoleProcess::start(command.display().to_string(), to_run)?;
    let status = {
        // Never dropped in the middle of what it does.
        let mut attended = std::pin::pin!(page.attend(&mut system));
        loop {
            if let Some(status) = process.ended()? {
                break status;
            }
            tokio::select! {
                attended = &mut attended => attended?,
                () = tokio::time::sleep(GLANCE) => {}
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.step("waiting for Ctrl-C")?;
                    return Ok(false);
                }
            }
        }
    };
    Ok(system.stop().await? && status.success())
}

fn print_addresses(system: &System, page: &Page) {
    let [plane, origin] = [system.control_plane.url(), system.origin.url()];
    let page = page.url();
    let (member, pem) = (&system.members[0], system.certificate.chain.display());
    let plain = format!("http://{}{TITLE_PATH}", member.http());
    let secure = format!("https://localhost:{}{TITLE_PATH}", member.https().port());
    println!(
        "
A page that plays the title as the control plane steers, with buttons that kill and drain appliances (\"npm ci\" in demo/players brings it hls.js
and dash.js):
  {page}/

A page of an appliance's own that plays it with what the browser has built in:
  {plain}/play.html
  {plain}/play.html?player=dash   (shows each request)

HLS    {plain}/master.m3u8
       {secure}/master.m3u8
DASH   {plain}/manifest.mpd
       {secure}/manifest.mpd

Try:
  curl -i -r 0-99 -o /dev/null -D - {plain}/720p/segment-00001.m4s
  curl -i --cacert {pem} {secure}/360p/media.m3u8
  curl '{plane}/v1/steer?client=127.0.0.1&path={TITLE_PATH}/720p'
  curl '{plane}/v1/play/hls.m3u8?client=127.0.0.1&path={TITLE_PATH}/master.m3u8'
  curl {plane}/openapi.json
  curl {origin}/.control/counters"
    );
    for member in &system.members {
        println!(
            "
{name}
  curl http://{admin}/health
  curl http://{admin}/metrics
  curl http://{admin}/inventory
  curl -X POST --unix-socket {daemon} http://oca/drain
  curl --unix-socket {agent} http://oca/history
  curl -X POST --unix-socket {agent} http://oca/run",
            name = member.name(),
            admin = member.admin(),
            daemon = member.premises().socket().display(),
            agent = member.premises().agent_socket().display(),
        );
    }
    println!("\nEverything is in {}; Ctrl-C ends it all and removes it.", system.folder().display());
}
