//! The control plane as a process of its own, over a database in a folder.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use control_client::report::Order;
use reqwest::{Client, Method, StatusCode};

use crate::appliance::quoted;
use crate::catalogue::Title;
use crate::failure::{Failure, Step};
use crate::member::Invitation;
use crate::process::RoleProcess;

/// For one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The folder of a control plane, and how its program is run.
pub struct ControlPlanePremises {
    folder: PathBuf,
    program: PathBuf,
    listen: SocketAddr,
}

impl ControlPlanePremises {
    /// In a new folder. `origin` is the base URL of where content comes from.
    pub fn new(folder: &Path, program: &Path, origin: &str) -> Result<Self, Failure> {
        fs::create_dir(folder).step("making the control plane's folder")?;
        let listen = free_address()?;
        let premises = Self { folder: folder.to_owned(), program: program.to_owned(), listen };
        let config = format!(
            "[control_plane]
listen = [\"{listen}\"]
database = \"sqlite://{database}\"
state = {state}
poll_interval = \"500 ms\"
poll_timeout = \"1 s\"
misses = 2
recoveries = 1
escalation = \"5 s\"
origins = [{{ name = \"origin\", url = \"{origin}\" }}]
report_interval = \"1 s\"
manifest_interval = \"1 h\"
[log]
level = \"warn\"
",
            database = folder.join("state.db").display(),
            state = quoted(&folder.join("state")),
        );
        fs::write(premises.config_path(), config).step("writing the control plane's configuration")?;
        Ok(premises)
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// The program with these arguments.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["role", "control-plane"]).args(arguments).arg("--config").arg(self.config_path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command of its command line to the end, and gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        let what = arguments.join(" ");
        let output = self.command(arguments).output().step(&what)?;
        if output.status.success() {
            return String::from_utf8(output.stdout).step(&what);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("control-plane {what}: {}: {}", output.status, said.trim())))
    }
}

/// A port that is free now.
fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).step("finding a free port")
}

/// A running control plane.
pub struct ControlPlaneProcess {
    premises: ControlPlanePremises,
    process: Option<RoleProcess>,
    operator: String,
    client: Client,
}

impl ControlPlaneProcess {
    /// Starts it and waits until it answers.
    pub async fn start(premises: ControlPlanePremises) -> Result<Self, Failure> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().step("making an operator")?;
        let mut plane = Self { premises, process: None, operator: String::new(), client };
        plane.start_again().await?;
        let token = plane.premises.folder.join("state/operator-token");
        plane.operator = fs::read_to_string(token).step("reading the operator's token")?.trim().to_owned();
        Ok(plane)
    }

    /// Starts it over what it knew, at the same address.
    pub async fn start_again(&mut self) -> Result<(), Failure> {
        let mut process = RoleProcess::start("the control plane", self.premises.command(&["serve"]))?;
        let url = format!("{}/healthz", self.premises.url());
        process
            .wait_until_ready(async || {
                let response = self.client.get(&url).send().await.ok()?;
                response.status().is_success().then_some(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Its folder and its command line.
    pub fn premises(&self) -> &ControlPlanePremises {
        &self.premises
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.premises.url()
    }

    /// Makes a site of these prefixes.
    pub fn add_site(&self, site: &str, region: &str, prefixes: &[&str]) -> Result<(), Failure> {
        let mut arguments = vec!["site", "add", site, "--region", region];
        for prefix in prefixes {
            arguments.extend(["--prefix", prefix]);
        }
        self.premises.run(&arguments).map(|_| ())
    }

    /// Makes an appliance of a site known, and gives what it has to be told.
    pub fn invite(&self, appliance: &str, site: &str) -> Result<Invitation, Failure> {
        let token = self.premises.run(&["appliance", "add", appliance, "--site", site])?.trim().to_owned();
        let trusted_keys = self.premises.run(&["key", "trusted"])?.trim().to_owned();
        Ok(Invitation { url: self.url(), token, trusted_keys })
    }

    /// Publishes a title whose files lie in the origin's tree.
    pub fn publish(&self, title: &Title, tree: &Path, is_pinned: bool) -> Result<(), Failure> {
        let directory = title.directory(tree);
        let directory = directory.to_str().ok_or_else(|| Failure::new("the tree's path is not UTF-8"))?;
        let mut arguments = vec!["publish", directory, "--title", &title.name, "--path", &title.path];
        if is_pinned {
            arguments.push("--pinned");
        }
        self.premises.run(&arguments).map(|_| ())
    }

    /// Ranks, and makes new manifests where something has changed.
    pub fn rank(&self) -> Result<String, Failure> {
        self.premises.run(&["rank"])
    }

    /// Orders something of an appliance.
    pub async fn order(&self, appliance: &str, order: &Order) -> Result<(), Failure> {
        let url = format!("{}/v1/appliances/{appliance}/directives", self.url());
        let body = serde_json::to_vec(order).step("the order")?;
        let request = self.client.request(Method::POST, url).bearer_auth(&self.operator).body(body);
        let response = request.header("content-type", "application/json").send().await.step("ordering")?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Failure::new(format!("ordering {order:?} of {appliance}: {status}"))),
        }
    }

    /// What it knows of an appliance, or of all of them: `GET` of a path below `/v1`.
    pub async fn ask(&self, path: &str) -> Result<serde_json::Value, Failure> {
        let request = self.client.get(format!("{}{path}", self.url())).bearer_auth(&self.operator);
        let response = request.send().await.step(path)?;
        let status = response.status();
        let text = response.text().await.step(path)?;
        if status != StatusCode::OK {
            return Err(Failure::new(format!("{path}: {status}: {text}")));
        }
        serde_json::from_str(&text).step(path)
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.process.take().map_or(Ok(()), |process| process.kill().map(|_| ()))
    }

    /// Tells it to stop, and waits for it.
    pub async fn stop(&mut self) -> Result<Option<ExitStatus>, Failure> {
        match self.process.take() {
            Some(process) => process.stop().await.map(Some),
            None => Ok(None),
        }
    }
}
