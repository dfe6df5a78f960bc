//! A stand-in for the control plane, over a real socket: answers as scripted, and remembers what it was told.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use control_client::report::Report;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Told {
    pub method: String,
    pub path: String,
    pub content: Vec<u8>,
}

type Answers = dyn Fn(&Told) -> (u16, Vec<u8>) + Send + Sync;

/// The stand-in. Its threads end with the process.
pub struct ScriptedPlane {
    pub url: String,
    told: Arc<Mutex<Vec<Told>>>,
}

impl ScriptedPlane {
    pub fn start(answers: impl Fn(&Told) -> (u16, Vec<u8>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let (answers, telling): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&told));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, told) = (Arc::clone(&answers), Arc::clone(&telling));
                thread::spawn(move || serve(stream, &*answers, &told));
            }
        });
        Self { url, told }
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub fn reports(&self) -> Vec<Report> {
        let told = self.told();
        let reports = told.iter().filter(|told| told.path.ends_with("/reports"));
        reports.map(|told| serde_json::from_slice(&told.content).unwrap()).collect()
    }
}

fn serve(mut stream: TcpStream, answers: &Answers, told: &Mutex<Vec<Told>>) {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let fields: HashMap<String, String> = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = fields.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut content = vec![0; length];
        stream.read_exact(&mut content).unwrap();
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let one = Told { method, path, content };
        let (status, answer) = answers(&one);
        told.lock().unwrap().push(one);
        let head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n\r\n", answer.len());
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer)).is_err() {
            return;
        }
    }
}
