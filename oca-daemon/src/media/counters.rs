//! What players said, counted by each worker and summed at scrape. Labels are the words of our own enums: no player can make
//! a new one.

use super::cmcd::{Cmcd, Ignored, ObjectType, StreamType, StreamingFormat, Version};
use super::{Pace, PaceCause};
use crate::stats::{Counter, Histogram, HistogramTotal, add_each, causes, counters};

causes! {
    /// What became of an object that a player named as the one that it asks for next.
    HintFate {
        HandedOver = "handed_over": "The RAM tier was told of those of its blocks that are not in memory.",
        Resident = "resident": "It is in memory, or on its way there.",
        Absent = "absent": "No bundle here has it. What is pulled through is not fetched ahead.",
        Closed = "closed": "Its bundle is another one than that of the request, and not open.",
        Malformed = "malformed": "It is no path of an object, relative or not, with or without a range, or leads above the root.",
        Elsewhere = "elsewhere": "It names a scheme or a host.",
        Limited = "limited": "The connection had named another one a moment before.",
        Dropped = "dropped": "The RAM tier is behind.",
    }
}

/// One worker's counters of requests with CMCD. Written by that worker alone.
pub struct PlayerStats {
    object_types: [Counter; ObjectType::COUNT],
    formats: [Counter; StreamingFormat::COUNT],
    stream_types: [Counter; StreamType::COUNT],
    versions: [Counter; Version::COUNT],
    ignored: [Counter; Ignored::COUNT],
    startups: Counter,
    starvations: Counter,
    paces: [Counter; PaceCause::COUNT],
    hints: [Counter; HintFate::COUNT],
    bitrate_video: Histogram,
    bitrate_audio: Histogram,
    throughput: Histogram,
    buffer: Histogram,
    start_delay: Histogram,
}

/// The sum over all workers. Arrays are indexed by the enum's number.
#[derive(Default)]
pub struct PlayerTotals {
    /// Requests, by what was asked for.
    pub object_types: [u64; ObjectType::COUNT],
    /// Requests, by streaming format.
    pub formats: [u64; StreamingFormat::COUNT],
    /// Requests, by stream type.
    pub stream_types: [u64; StreamType::COUNT],
    /// Requests, by version.
    pub versions: [u64; Version::COUNT],
    /// Values left out, by why.
    pub ignored: [u64; Ignored::COUNT],
    /// Requests of players that begin, or begin again.
    pub startups: u64,
    /// Requests of players whose buffer ran dry.
    pub starvations: u64,
    /// Responses, by how they were paced.
    pub paces: [u64; PaceCause::COUNT],
    /// Objects that players named as their next, by what became of that.
    pub hints: [u64; HintFate::COUNT],
    /// Encoded bitrates of video and muxed segments, kbit/s.
    pub bitrate_video: HistogramTotal,
    /// Of audio segments.
    pub bitrate_audio: HistogramTotal,
    /// Throughput as players measured it, kbit/s.
    pub throughput: HistogramTotal,
    /// Buffer lengths, ms.
    pub buffer: HistogramTotal,
    /// Delays from the viewer's wish to the first picture, ms.
    pub start_delay: HistogramTotal,
}

impl PlayerStats {
    /// All at zero.
    pub(crate) const fn new() -> Self {
        PlayerStats {
            object_types: counters(),
            formats: counters(),
            stream_types: counters(),
            versions: counters(),
            ignored: counters(),
            startups: Counter::new(),
            starvations: Counter::new(),
            paces: counters(),
            hints: counters(),
            bitrate_video: Histogram::new(),
            bitrate_audio: Histogram::new(),
            throughput: Histogram::new(),
            buffer: Histogram::new(),
            start_delay: Histogram::new(),
        }
    }

    /// A request with CMCD has ended.
    pub fn said(&self, cmcd: &Cmcd) {
        self.object_types[cmcd.object_type as usize].add(1);
        self.formats[cmcd.format as usize].add(1);
        self.stream_types[cmcd.stream_type as usize].add(1);
        self.versions[cmcd.version as usize].add(1);
        for (counter, &count) in self.ignored.iter().zip(&cmcd.ignored) {
            counter.add(count.into());
        }
        self.startups.add(cmcd.is_startup.into());
        self.starvations.add(cmcd.is_starved.into());
        let bitrate = match cmcd.object_type {
            ObjectType::Video | ObjectType::Muxed => Some(&self.bitrate_video),
            ObjectType::Audio => Some(&self.bitrate_audio),
            _ => None,
        };
        for (histogram, value) in [
            (bitrate, cmcd.bitrate_kbps),
            (Some(&self.throughput), cmcd.throughput_kbps),
            (Some(&self.buffer), cmcd.buffer_millis),
            (Some(&self.start_delay), cmcd.start_delay_millis),
        ] {
            if let (Some(histogram), Some(value)) = (histogram, value) {
                histogram.record_value(value.into());
            }
        }
    }

    /// A response to a player began, at this pace.
    pub fn paced(&self, pace: Pace) {
        let (Pace::AtMost(_, cause) | Pace::Unlimited(cause)) = pace;
        self.paces[cause as usize].add(1);
    }

    /// A player has named the object that it asks for next.
    pub fn hinted(&self, fate: HintFate) {
        self.hints[fate as usize].add(1);
    }
}

impl PlayerTotals {
    /// Adds what one worker counted.
    pub fn add(&mut self, worker: &PlayerStats) {
        add_each(&mut self.object_types, &worker.object_types);
        add_each(&mut self.formats, &worker.formats);
        add_each(&mut self.stream_types, &worker.stream_types);
        add_each(&mut self.versions, &worker.versions);
        add_each(&mut self.ignored, &worker.ignored);
        self.startups += worker.startups.value();
        self.starvations += worker.starvations.value();
        add_each(&mut self.paces, &worker.paces);
        add_each(&mut self.hints, &worker.hints);
        self.bitrate_video.add(&worker.bitrate_video);
        self.bitrate_audio.add(&worker.bitrate_audio);
        self.throughput.add(&worker.throughput);
        self.buffer.add(&worker.buffer);
        self.start_delay.add(&worker.start_delay);
    }
}

#[cfg(test)]
mod tests {
    use control_client::units::BitRate;

    use super::*;

    #[test]
    fn what_a_player_says_is_counted_once_under_each_of_its_heads() {
        let stats = PlayerStats::new();
        let said = |line: &str| stats.said(&Cmcd::read("/", &[line.as_bytes()]).unwrap());
        said("br=3200,bl=20000,mtp=40000,ot=v,sf=h,st=l,su,bs,v=2,msd=800,rtp=x");
        said("br=128,bl=18000,ot=a,sf=h,st=v");
        said("br=9999,ot=m");
        stats.paced(Pace::AtMost(BitRate::new(1), PaceCause::Bitrate));

        let mut totals = PlayerTotals::default();
        totals.add(&stats);
        assert_eq!(totals.object_types.iter().sum::<u64>(), 3);
        assert_eq!(totals.formats[StreamingFormat::Hls as usize], 2);
        assert_eq!(totals.stream_types, [1, 1, 0, 1], "on demand, live, none with low latency, unsaid");
        assert_eq!((totals.versions[Version::One as usize], totals.versions[Version::Two as usize]), (2, 1));
        assert_eq!((totals.startups, totals.starvations, totals.ignored), (1, 1, [1, 0, 0]));
        assert_eq!(
            (totals.bitrate_video.count(), totals.bitrate_audio.count()),
            (1, 1),
            "a playlist has no bitrate"
        );
        assert_eq!((totals.buffer.count(), totals.throughput.count(), totals.start_delay.count()), (2, 1, 1));
        assert_eq!(totals.paces[PaceCause::Bitrate as usize], 1);
    }
}
