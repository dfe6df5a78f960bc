//! How fast a response is sent to a player, after "Sammy" (Spang and others, SIGCOMM 2023): a little faster than the player
//! can use it, rather than as fast as the link allows. The player notices nothing; queues in front of it stay short, and
//! whoever shares the link gets through.
//!
//! The paper paces a segment at 3.2 times the highest bitrate of the ladder while the player's buffer is empty, falling to
//! 2.8 times when it is full; so a player that measures its throughput still finds room for any bitrate. A player that says
//! what it finds sufficient (`rtp`) is taken at its word. Never paced: what is needed at once (`su`, `bs`, a buffer of a few
//! seconds), what is not media, and players that say nothing to go by.

use control_client::units::BitRate;

use super::Cmcd;
use crate::stats::causes;

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacingLimits {
    /// No response is paced slower.
    pub min: BitRate,
    /// None is paced faster, unless the player needs it.
    pub max: BitRate,
}

/// How fast a response may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the connection can.
    Unlimited(PaceCause),
    /// No faster than this, without what lower layers add.
    AtMost(BitRate, PaceCause),
}

causes! {
    /// Why a player's response is paced, or is not.
    PaceCause {
        Requested = "requested": "Paced at what the player finds sufficient (rtp).",
        Bitrate = "bitrate": "Paced by the bitrates that the player can choose (tb, br).",
        Urgent = "urgent": "Not paced: needed at once (su, bs, or a short buffer).",
        Unknown = "unknown": "Not paced: the player does not say what it needs, or it asks for no media.",
        Off = "off": "Not paced: serve.pacing is off.",
    }
}

/// Below so much in its buffer, a player gets everything as fast as possible. Live players with low latency are always there.
const URGENT_BUFFER_MILLIS: u32 = 5_000;

/// A buffer counts as full from here on. Players keep 30 to 60 s.
const FULL_BUFFER_MILLIS: u32 = 30_000;

/// The pace at an empty buffer, in tenths of the highest bitrate.
const TENTHS_AT_EMPTY: u64 = 32;

/// The pace at a full one.
const TENTHS_AT_FULL: u64 = 28;

/// What a player needs at the least, in tenths of the bitrate of the object: so its buffer grows while it plays.
const TENTHS_NEEDED: u64 = 15;

/// A response must be there in this part of the time until the player's deadline.
const DEADLINE_PART: u64 = 2;

/// Decides for a response of `body_bytes` at most, which is all there are where nobody knows, to a player that says `cmcd`; `None`: the
/// operator wants no pacing.
pub fn pace(cmcd: &Cmcd, body_bytes: u64, limits: Option<&PacingLimits>) -> Pace {
    let Some(limits) = limits else { return Pace::Unlimited(PaceCause::Off) };
    if cmcd.is_startup
        || cmcd.is_starved
        || cmcd.buffer_millis.is_some_and(|millis| millis < URGENT_BUFFER_MILLIS)
    {
        return Pace::Unlimited(PaceCause::Urgent);
    }
    let (wished, cause) = match (cmcd.requested_kbps, bitrate_pace(cmcd)) {
        _ if !cmcd.is_media() => return Pace::Unlimited(PaceCause::Unknown),
        (Some(kbps), _) if kbps > 0 => (u64::from(kbps) * 1000, PaceCause::Requested),
        (_, Some(bits_per_second)) => (bits_per_second, PaceCause::Bitrate),
        _ => return Pace::Unlimited(PaceCause::Unknown),
    };
    let needed = needed(cmcd, body_bytes);
    let allowed = stepped(wished)
        .clamp(limits.min.bits_per_second(), limits.max.bits_per_second().max(limits.min.bits_per_second()));
    Pace::AtMost(BitRate::new(allowed.max(stepped(needed))), cause)
}

/// By the highest bitrate that the player can choose, as far as it says; falling with its buffer.
fn bitrate_pace(cmcd: &Cmcd) -> Option<u64> {
    let top_kbps = cmcd.top_bitrate_kbps.max(cmcd.bitrate_kbps).filter(|&kbps| kbps > 0)?;
    let buffer = u64::from(cmcd.buffer_millis.unwrap_or(0).min(FULL_BUFFER_MILLIS));
    let full = u64::from(FULL_BUFFER_MILLIS);
    // In tenths of a thousandth: kbit/s to bit/s and tenths cancel to a factor of 100.
    let tenths_times_full = TENTHS_AT_EMPTY * full - (TENTHS_AT_EMPTY - TENTHS_AT_FULL) * buffer;
    Some(u64::from(top_kbps) * 100 * tenths_times_full / full * rate_percent(cmcd) / 100)
}

/// What the player cannot do without, in bit/s: more than it plays, and the response in time for its deadline.
fn needed(cmcd: &Cmcd, body_bytes: u64) -> u64 {
    let played = u64::from(cmcd.bitrate_kbps.unwrap_or(0)) * 100 * TENTHS_NEEDED * rate_percent(cmcd) / 100;
    let by_deadline = match cmcd.deadline_millis {
        Some(millis) => body_bytes.saturating_mul(8 * 1000 * DEADLINE_PART) / u64::from(millis.max(1)),
        None => 0,
    };
    played.max(by_deadline)
}

/// The playback rate, where it is faster than real time; ten times that is more than any player plays.
fn rate_percent(cmcd: &Cmcd) -> u64 {
    cmcd.playback_rate_percent.unwrap_or(100).clamp(100, 1000).into()
}

/// Rounded up to an eighth of the power of two below, so that a pace seldom changes from one response to the next.
fn stepped(bits_per_second: u64) -> u64 {
    let step = 1_u64 << bits_per_second.max(8).ilog2().saturating_sub(3);
    bits_per_second.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::cmcd::ObjectType;

    const LIMITS: PacingLimits =
        PacingLimits { min: BitRate::new(2_000_000), max: BitRate::new(1_000_000_000) };

    fn player(line: &str) -> Cmcd {
        Cmcd::read("/", &[line.as_bytes()]).unwrap()
    }

    fn paced(line: &str) -> Pace {
        pace(&player(line), 2 << 20, Some(&LIMITS))
    }

    fn unpaced(line: &str) -> PaceCause {
        match paced(line) {
            Pace::Unlimited(cause) => cause,
            paced => panic!("{line} is {paced:?}"),
        }
    }

    fn rate(pace: Pace) -> u64 {
        match pace {
            Pace::AtMost(rate, _) => rate.bits_per_second(),
            Pace::Unlimited(_) => u64::MAX,
        }
    }

    #[test]
    fn the_pace_falls_from_3_2_to_2_8_times_the_top_bitrate_as_the_buffer_fills() {
        for (buffer, tenths) in [("", 32.0), (",bl=15000", 30.0), (",bl=30000", 28.0), (",bl=90000", 28.0)] {
            let rate = rate(paced(&format!("ot=v,br=1500,tb=6000{buffer}")));
            let exact = 600_000.0 * tenths;
            assert!((exact..exact * 1.13).contains(&(rate as f64)), "{buffer}: {rate}");
        }
    }

    #[test]
    fn what_the_player_finds_sufficient_is_what_it_gets() {
        let Pace::AtMost(rate, cause) = paced("ot=v,br=3000,tb=6000,bl=20000,rtp=12000") else { panic!() };
        assert_eq!((rate.bits_per_second(), cause), (12_582_912, PaceCause::Requested));
    }

    #[test]
    fn what_is_needed_at_once_is_not_paced() {
        for line in
            ["ot=v,br=3000,su", "ot=v,br=3000,rtp=9000,bs", "ot=v,br=3000,bl=4900", "ot=v,br=3000,bl=0"]
        {
            assert_eq!(unpaced(line), PaceCause::Urgent, "{line}");
        }
    }

    #[test]
    fn what_is_not_media_or_says_too_little_is_not_paced() {
        for line in
            ["ot=m,rtp=9000", "ot=i,br=3000,bl=20000", "ot=v,bl=20000", "sid=\"a\"", "ot=v,br=0,tb=0,rtp=0"]
        {
            assert_eq!(unpaced(line), PaceCause::Unknown, "{line}");
        }
        assert!(
            rate(paced("br=3000,bl=20000")) < u64::MAX,
            "a player that does not say what it asks for, asks for media"
        );
    }

    #[test]
    fn an_operator_who_wants_no_pacing_gets_none() {
        assert_eq!(pace(&player("ot=v,rtp=9000"), 1, None), Pace::Unlimited(PaceCause::Off));
    }

    #[test]
    fn a_deadline_that_comes_near_raises_the_pace() {
        let relaxed = rate(paced("ot=v,br=1000,bl=20000,dl=20000"));
        // 2 MiB in half of a second.
        assert!(relaxed < 4_000_000 && rate(paced("ot=v,br=1000,bl=20000,dl=1000")) >= 33_554_432);
    }

    #[test]
    fn a_body_of_unknown_length_is_paced_by_its_bitrate_and_by_no_deadline() {
        let paced = |line: &str| pace(&player(line), u64::MAX, Some(&LIMITS));
        assert_eq!(paced("ot=v,br=1000,bl=20000"), pace(&player("ot=v,br=1000,bl=20000"), 1, Some(&LIMITS)));
        assert!(rate(paced("ot=v,br=1000,bl=20000,dl=60000")) > 100_000_000_000_000);
    }

    fn players() -> impl Strategy<Value = Cmcd> {
        let kbps = || prop::option::of(prop_oneof![0..200_u32, 200..60_000_u32, any::<u32>()]);
        let millis = || prop::option::of(prop_oneof![0..60_000_u32, any::<u32>()]);
        (kbps(), kbps(), kbps(), millis(), millis(), prop::option::of(0..1000_u32)).prop_map(
            |(
                bitrate_kbps,
                top_bitrate_kbps,
                requested_kbps,
                buffer_millis,
                deadline_millis,
                playback_rate_percent,
            )| Cmcd {
                object_type: ObjectType::Video,
                bitrate_kbps,
                top_bitrate_kbps,
                requested_kbps,
                buffer_millis,
                deadline_millis,
                playback_rate_percent,
                ..player("v=1")
            },
        )
    }

    fn limits() -> impl Strategy<Value = PacingLimits> {
        (1..10_000_000_000_u64, 1..10_000_000_000_u64)
            .prop_map(|(min, max)| PacingLimits { min: BitRate::new(min), max: BitRate::new(max) })
    }

    proptest! {
        #[test]
        fn nobody_gets_less_than_he_needs(cmcd in players(), limits in limits(), body_bytes in 0..1_u64 << 40) {
            let rate = rate(pace(&cmcd, body_bytes, Some(&limits)));
            let played = u64::from(cmcd.bitrate_kbps.unwrap_or(0)) * 1500;
            prop_assert!(rate >= played, "{} plays {}", rate, played);
            if let Some(millis) = cmcd.deadline_millis {
                // Twice as fast as the deadline asks for.
                prop_assert!(u128::from(rate) * u128::from(millis.max(1)) / 16_000 + 1 >= u128::from(body_bytes));
            }
        }

        #[test]
        fn limits_hold_unless_more_is_needed(cmcd in players(), limits in limits(), body_bytes in 0..1_u64 << 30) {
            if let Pace::AtMost(rate, _) = pace(&cmcd, body_bytes, Some(&limits)) {
                let highest = limits.max.max(limits.min).bits_per_second().max(stepped(needed(&cmcd, body_bytes)));
                prop_assert!(rate >= limits.min && rate.bits_per_second() <= highest);
            }
        }

        #[test]
        fn more_in_the_buffer_never_means_faster(cmcd in players(), more in 0..60_000_u32, body_bytes in 0..1_u64 << 30) {
            let fuller = Cmcd { buffer_millis: cmcd.buffer_millis.map(|millis| millis.saturating_add(more)), ..cmcd.clone() };
            prop_assert!(rate(pace(&fuller, body_bytes, Some(&LIMITS))) <= rate(pace(&cmcd, body_bytes, Some(&LIMITS))));
        }

        #[test]
        fn a_step_is_an_eighth_at_the_most(rate in 8..u64::MAX / 2) {
            prop_assert!(stepped(rate) >= rate && stepped(rate) - rate <= rate / 8);
        }
    }
}
