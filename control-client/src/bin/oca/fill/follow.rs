//! A run as it goes: bars on a terminal, lines elsewhere, documents with `--json`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use control_client::admin_client::{AdminError, Answer};
use control_client::agent_client::{AgentCall, AgentClient};
use control_client::fill::{FillHistory, FillProgress, FillRun, RunOutcome};

use super::progress::{Bar, bars, is_over, sentence};
use super::{client, history};
use crate::arguments::AskingAgent;
use crate::failure::Failure;
use crate::output;
use crate::target::runtime;

/// Between two looks: a person watches.
const POLL: Duration = Duration::from_millis(500);

/// How long the agent may be away in the middle: it restarts in less.
const ABSENCE_MAX: Duration = Duration::from_secs(15);

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// `oca fill follow`: the run under way, or the next one.
pub(super) fn next_run(asking: &AskingAgent) -> Result<ExitCode, Failure> {
    follow(asking, None)
}

/// `oca fill run`: the run that has begun.
pub(super) fn to_the_end(asking: &AskingAgent, begun: FillProgress) -> Result<ExitCode, Failure> {
    follow(asking, Some(begun))
}

fn follow(asking: &AskingAgent, begun: Option<FillProgress>) -> Result<ExitCode, Failure> {
    let client = client(asking)?;
    let mut screen = Screen::new(asking.json);
    let run = runtime()?.block_on(async {
        let name = watch(&client, &mut screen, begun).await?;
        find(client.history().await?, name.as_deref())
    });
    screen.clear();
    let run = run?;
    if asking.json {
        let line = serde_json::to_string(&run)
            .map_err(|error| Failure::Other(format!("the run cannot be written down: {error}")))?;
        output::print(&line)?;
    } else {
        output::print(&history::show_run(&run))?;
    }
    Ok(if run.outcome == RunOutcome::Completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks until a run that was under way is over; gives its name.
async fn watch(
    client: &AgentClient,
    screen: &mut Screen,
    begun: Option<FillProgress>,
) -> Result<Option<String>, Failure> {
    let is_begun = begun.is_some();
    let mut name = begun.and_then(|progress| progress.run);
    let mut was_under_way = is_begun;
    let mut heard = Instant::now();
    loop {
        match look(client).await {
            Ok((answer, progress)) => {
                heard = Instant::now();
                screen.show(&answer, &progress)?;
                let is_another = name.is_some() && progress.run.is_some() && progress.run != name;
                if was_under_way && (is_over(&progress) || is_another) {
                    return Ok(name.or(progress.run));
                }
                if !is_over(&progress) {
                    was_under_way = true;
                    name = progress.run.or(name);
                }
            }
            Err(error) if error.is_unreachable() && heard.elapsed() < ABSENCE_MAX && was_under_way => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn look(client: &AgentClient) -> Result<(Answer, FillProgress), AdminError> {
    let answer = client.send(AgentCall::Progress).await?;
    let progress = answer.document()?;
    Ok((answer, progress))
}

fn find(history: FillHistory, name: Option<&str>) -> Result<FillRun, Failure> {
    let newest_first = history.runs.into_iter();
    let found = match name {
        Some(name) => newest_first.into_iter().find(|run| run.run == name),
        None => newest_first.into_iter().next(),
    };
    found.ok_or_else(|| {
        Failure::Other(
            "the run is over, and the agent's history does not have it; what does its log say?".to_owned(),
        )
    })
}

/// What is shown while a run goes.
enum Screen {
    Documents,
    Lines { told: Option<(Instant, String)> },
    Bars { all: MultiProgress, bars: Vec<ProgressBar> },
}

impl Screen {
    fn new(json: bool) -> Self {
        if json {
            Self::Documents
        } else if std::io::stderr().is_terminal() {
            Self::Bars {
                all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
                bars: Vec::new(),
            }
        } else {
            Self::Lines { told: None }
        }
    }

    fn show(&mut self, answer: &Answer, progress: &FillProgress) -> Result<(), Failure> {
        match self {
            Self::Documents => output::print_bytes(&one_line(&answer.content))?,
            Self::Lines { told } => {
                let state = progress.state.to_string();
                let is_new =
                    told.as_ref().is_none_or(|(at, known)| *known != state || at.elapsed() >= LINE_INTERVAL);
                if is_new {
                    output::print(&sentence(progress))?;
                    *told = Some((Instant::now(), state));
                }
            }
            Self::Bars { all, bars: drawn } => draw(all, drawn, &bars(progress)),
        }
        Ok(())
    }

    fn clear(&self) {
        if let Self::Bars { all, .. } = self {
            // Where the terminal is gone, nobody looks at it.
            let _ = all.clear();
        }
    }
}

fn draw(all: &MultiProgress, drawn: &mut Vec<ProgressBar>, bars: &[Bar]) {
    for surplus in drawn.drain(bars.len().min(drawn.len())..) {
        all.remove(&surplus);
    }
    for bar in &bars[drawn.len().min(bars.len())..] {
        let line = ProgressBar::new(bar.bytes).with_style(style());
        drawn.push(all.add(line.with_prefix(bar.label.clone()).with_message(bar.beside.clone())));
    }
    for (line, bar) in drawn.iter().zip(bars) {
        line.set_length(bar.bytes);
        line.set_position(bar.done_bytes.min(bar.bytes));
        line.set_prefix(bar.label.clone());
        line.set_message(bar.beside.clone());
        line.tick();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:33} [{bar:24}] {percent:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Documents are told apart by their lines, however the agent wrote them.
fn one_line(content: &[u8]) -> Vec<u8> {
    content.iter().copied().filter(|byte| *byte != b'\n' && *byte != b'\r').collect()
}
