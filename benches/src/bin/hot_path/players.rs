//! What is said of every response besides the object, and what players cost that say something (CMCD).

use std::error::Error;
use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use control_client::units::BitRate;
use oca_daemon::media::cmsd::{Told, append_line};
use oca_daemon::media::{Cmcd, PacingLimits, PlayerStats, pace};
use oca_daemon::serve::{Source, append_server_timing};
use oca_daemon::socket_options::{set_max_pacing_rate, transport_facts};
use oca_daemon::stats::WorkerStats;

use crate::timing::Timing;

const TARGET: &str = "/bench/001234/00007.m4s";

const QUERY: &str = "/bench/001234/00007.m4s?CMCD=bl%3D21300%2Cbr%3D3200%2Ccid%3D%22faec5fc2-ac30-11ea-bb37-0242ac130002%22%2C\
    d%3D4004%2Cdl%3D18500%2Cmtp%3D48100%2Cnor%3D%2200008.m4s%22%2Cot%3Dv%2Crtp%3D15000%2Csf%3Dh%2C\
    sid%3D%226e2fb550-c457-11e9-bb97-0800200c9a66%22%2Cst%3Dv%2Ctb%3D6000";

const FIELDS: [&[u8]; 4] = [
    b"br=3200,d=4004,ot=v,tb=6000",
    b"bl=21300,dl=18500,mtp=48100,nor=\"00008.m4s\"",
    b"cid=\"faec5fc2-ac30-11ea-bb37-0242ac130002\",sf=h,sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\",st=v",
    b"rtp=15000",
];

pub(crate) fn measure(timing: Timing) -> Result<(), Box<dyn Error>> {
    let mut head = Vec::with_capacity(1024);
    timing.measure("add Server-Timing to a head", |number| {
        head.clear();
        append_server_timing(&mut head, black_box(Source::Ram), Duration::from_micros(number % 10_000));
        black_box(&head);
    });
    timing.measure("look for CMCD in a request without", |_| {
        black_box(Cmcd::read(black_box(TARGET), black_box(&[])));
    });
    timing.measure("read CMCD from a query", |_| {
        black_box(Cmcd::read(black_box(QUERY), black_box(&[])));
    });
    timing.measure("read CMCD from fields", |_| {
        black_box(Cmcd::read(black_box(TARGET), black_box(&FIELDS)));
    });
    let cmcd = Cmcd::read(QUERY, &[]).ok_or("the query has CMCD")?;
    let limits = PacingLimits { min: BitRate::new(2_000_000), max: BitRate::new(1_000_000_000) };
    timing.measure("decide on a pace", |number| {
        black_box(pace(black_box(&cmcd), black_box(number), Some(&limits)));
    });
    let stats = WorkerStats::new(1);
    timing.measure("count what a player says", |_| PlayerStats::said(&stats.players, black_box(&cmcd)));

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let _client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    timing.measure("ask the kernel for TCP_INFO", |_| {
        black_box(transport_facts(&server));
    });
    let told = Told {
        transport: transport_facts(&server),
        delay: Duration::from_micros(50),
        is_in_duress: false,
        bitrate_kbps: Some(3200),
    };
    timing.measure("add CMSD-Dynamic to a head", |_| {
        head.clear();
        append_line(&mut head, "\"oca-1\"", black_box(&told));
        black_box(&head);
    });
    timing.measure("set the pace of a socket", |number| {
        let _ = black_box(set_max_pacing_rate(&server, Some(1_000_000 + number)));
    });
    Ok(())
}
