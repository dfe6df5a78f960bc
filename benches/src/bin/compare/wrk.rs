//! wrk, for closed loop: a number of connections, each of which asks again as soon as it has its answer.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use demo::failure::{Failure, Step};

use super::corpus::ObjectSet;

/// What wrk is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrk<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) is_tls: bool,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    /// In whole seconds.
    pub(crate) seconds: u64,
    /// Names and values of what each request has besides Host.
    pub(crate) fields: &'a [(&'a str, &'a str)],
    /// Where its script is written.
    pub(crate) folder: &'a Path,
}

/// What it found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) requests: u64,
    /// Heads included.
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// Connections, reads, writes, statuses and answers within the time limit that went wrong.
    pub(crate) errors: u64,
}

/// What begins the line that our script prints.
const MARK: &str = "FOUND ";

/// How often it is run where nothing comes of it: a virtual machine may stand still for as long as a turn takes.
const TRIES: usize = 3;

impl Wrk<'_> {
    /// Runs it over these targets, in their order. Any error, and any answer that was not whole, is a failure. Where there was no answer
    /// and no error it says so, and tries again: whoever measures what that cost has both in one.
    pub(crate) fn run(&self, objects: &ObjectSet) -> Result<Found, Failure> {
        let mut tries = 1;
        loop {
            let found = self.run_once(objects)?;
            if found.requests > 0 {
                return Ok(found);
            }
            if tries == TRIES {
                return Err(unwanted(&found));
            }
            println!("  wrk had no answer from {} within {:?}; once more", self.address, found.took);
            tries += 1;
        }
    }

    fn run_once(&self, objects: &ObjectSet) -> Result<Found, Failure> {
        let script = self.folder.join("wrk.lua");
        fs::write(&script, script_text(&objects.targets, self.fields)).step("writing wrk's script")?;
        let scheme = if self.is_tls { "https" } else { "http" };
        let output = Command::new("wrk")
            .arg(format!("-t{}", self.threads))
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.seconds))
            .args(["--timeout", "30s", "-s"])
            .arg(&script)
            .arg(format!("{scheme}://{}{}", self.address, objects.targets[0]))
            .stdin(Stdio::null())
            .output()
            .step("running wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = parse(&text).ok_or_else(|| {
            Failure::new(format!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)))
        })?;
        if found.errors > 0 || found.bytes < found.requests * objects.object_bytes {
            return Err(unwanted(&found));
        }
        Ok(found)
    }
}

fn unwanted(found: &Found) -> Failure {
    Failure::new(format!("wrk did not get what it asked for: {found:?}"))
}

/// Each thread asks for the targets in turn.
fn script_text(targets: &[String], fields: &[(&str, &str)]) -> String {
    let quoted: Vec<String> = targets.iter().map(|target| format!("{target:?}")).collect();
    let fields: String =
        fields.iter().map(|(name, value)| format!("wrk.headers[{name:?}] = {value:?}\n")).collect();
    format!(
        "{fields}\
         local targets = {{{}}}\n\
         local requests, last = {{}}, 0\n\
         function init() for place, target in ipairs(targets) do requests[place] = wrk.format(\"GET\", target) end end\n\
         function request() last = last % #requests + 1; return requests[last] end\n\
         function done(summary, latency)\n\
         local e = summary.errors\n\
         io.write(string.format(\"\\n{MARK}%d %d %d %d %.0f %.0f\\n\", summary.requests, summary.bytes, summary.duration,\n\
         e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))\n\
         end\n",
        quoted.join(",")
    )
}

fn parse(text: &str) -> Option<Found> {
    let line = text.lines().find_map(|line| line.strip_prefix(MARK))?;
    let numbers: Vec<u64> =
        line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [requests, bytes, micros, errors, p50, p99] = numbers[..] else { return None };
    Some(Found {
        requests,
        bytes,
        took: Duration::from_micros(micros),
        p50_micros: p50 as f64,
        p99_micros: p99 as f64,
        errors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_prints_is_read_back() {
        let text = "Running 1s test @ http://127.0.0.1\n\nFOUND 100 204800 1000123 0 150 900\n";
        let found = parse(text).unwrap();
        assert_eq!((found.requests, found.bytes, found.errors), (100, 204_800, 0));
        assert_eq!((found.p50_micros, found.p99_micros), (150.0, 900.0));
        assert_eq!(found.took, Duration::from_micros(1_000_123));
        assert_eq!(parse("unable to connect"), None);
        assert_eq!(parse("FOUND 1 2 3\n"), None);
    }

    #[test]
    fn the_script_asks_for_every_target() {
        let script = script_text(&["/a/1".to_owned(), "/a/2".to_owned()], &[]);
        assert!(script.starts_with("local targets = {\"/a/1\",\"/a/2\"}\n"), "{script}");
    }

    #[test]
    fn the_script_sends_every_field() {
        let script = script_text(&["/a/1".to_owned()], &[("A", "b=1"), ("C", "d=\"2\"")]);
        let fields = "wrk.headers[\"A\"] = \"b=1\"\nwrk.headers[\"C\"] = \"d=\\\"2\\\"\"\n";
        assert!(script.starts_with(&format!("{fields}local targets")), "{script}");
    }
}
