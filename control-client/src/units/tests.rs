use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn refusal<T: std::str::FromStr<Err = QuantityError>>(text: &str) -> String {
    text.parse::<T>().err().expect("the text must be refused").to_string()
}

#[test]
fn sizes_are_read_with_iec_units() {
    for (text, bytes) in [
        ("0 B", 0),
        ("17 B", 17),
        ("64 KiB", 64 << 10),
        ("256 MiB", 256 << 20),
        ("256MiB", 256 << 20),
        ("1 TiB", 1 << 40),
        ("16383 PiB", 16383 << 50),
    ] {
        assert_eq!(text.parse(), Ok(ByteCount::new(bytes)), "{text}");
    }
}

#[test]
fn rates_are_read_with_si_units_and_decimal_fractions() {
    for (text, bits_per_second) in [
        ("1.2 Gbit/s", 1_200_000_000),
        ("0.5 kbit/s", 500),
        ("100 Mbit/s", 100_000_000),
        ("1.500 Mbit/s", 1_500_000),
    ] {
        assert_eq!(text.parse(), Ok(BitRate::new(bits_per_second)), "{text}");
    }
}

#[test]
fn durations_are_read_from_milliseconds_to_days() {
    for (text, duration) in [
        ("100 ms", Duration::from_millis(100)),
        ("30 s", Duration::from_secs(30)),
        ("5 min", Duration::from_secs(300)),
        ("4 h", Duration::from_secs(14_400)),
        ("365 d", Duration::from_secs(365 * 86_400)),
    ] {
        assert_eq!(parse_duration(text), Ok(duration), "{text}");
    }
}

#[test]
fn a_refused_size_is_told_the_accepted_units() {
    for (text, reason) in [
        ("256", "has no unit"),
        ("256 ", "has no unit"),
        ("256 MB", "has an unknown unit"),
        ("256 mib", "has an unknown unit"),
        ("256  MiB", "has an unknown unit"),
        ("1 MiB x", "has an unknown unit"),
        ("1.5 GiB", "is not a whole number"),
        ("-1 MiB", "does not start with a number"),
        ("+1 MiB", "does not start with a number"),
        ("", "does not start with a number"),
        (" 1 MiB", "does not start with a number"),
        ("1. MiB", "does not start with a number"),
        ("1e3 MiB", "has an unknown unit"),
        ("16384 PiB", "is too large"),
        ("99999999999999999999 B", "is too large"),
    ] {
        let refusal = refusal::<ByteCount>(text);
        assert!(refusal.contains(reason), "{text}: {refusal}");
        assert!(refusal.contains("accepted units: B, KiB, MiB, GiB, TiB, PiB"), "{text}: {refusal}");
    }
}

#[test]
fn a_rate_finer_than_one_bit_per_second_is_refused() {
    assert!(refusal::<BitRate>("1.5 bit/s").contains("finer than the smallest unit"));
    assert!(refusal::<BitRate>("1.0001 kbit/s").contains("finer than the smallest unit"));
    assert_eq!("1.001 kbit/s".parse(), Ok(BitRate::new(1001)));
}

#[test]
fn what_is_printed_is_the_shortest_exact_form() {
    assert_eq!(ByteCount::new(0).to_string(), "0 B");
    assert_eq!(ByteCount::mib(1536).to_string(), "1536 MiB");
    assert_eq!(ByteCount::new(1025).to_string(), "1025 B");
    assert_eq!(BitRate::new(1_200_000_000).to_string(), "1.2 Gbit/s");
    assert_eq!(BitRate::new(1_234_567).to_string(), "1234.567 kbit/s");
    assert_eq!(display_duration(Duration::from_secs(90)).to_string(), "90 s");
    assert_eq!(display_duration(Duration::from_secs(7200)).to_string(), "2 h");
}

#[test]
fn people_get_rounded_figures() {
    assert_eq!(ByteCount::new(1023).rounded(), "1023 B");
    assert_eq!(ByteCount::new(1536 << 20).rounded(), "1.5 GiB");
    assert_eq!(rounded_duration(Duration::ZERO), "0 ms");
    assert_eq!(rounded_duration(Duration::from_secs(93_784)), "1 d 2 h");
    assert_eq!(rounded_duration(Duration::from_secs(3_605)), "1 h");
}

#[test]
fn a_number_without_a_unit_is_refused_as_one_in_a_document() {
    let refusal = serde_json::from_str::<ByteCount>("256").expect_err("a bare number").to_string();
    assert!(refusal.contains("\"256\" has no unit; accepted units: B, KiB"), "{refusal}");
    assert_eq!(serde_json::from_str::<ByteCount>("\"1 KiB\"").expect("a size"), ByteCount::KIB);
    assert_eq!(serde_json::to_string(&BitRate::new(1_500_000)).expect("a rate"), "\"1.5 Mbit/s\"");
}

#[test]
fn a_range_is_half_open() {
    let range = ByteRange::new(10, 20);
    assert_eq!((range.len(), range.is_empty()), (10, false));
    assert!(range.contains(10) && range.contains(19) && !range.contains(20) && !range.contains(9));
    assert_eq!(range.intersection(ByteRange::new(15, 30)), ByteRange::new(15, 20));
    assert!(range.intersection(ByteRange::new(20, 30)).is_empty());
    assert_eq!(ByteRange::new(5, 3).len(), 0);
    assert_eq!(ByteRange::at(u64::MAX, 1), None);
}

proptest! {
    #[test]
    fn a_printed_size_reads_as_the_same_size(bytes: u64) {
        prop_assert_eq!(ByteCount::new(bytes).to_string().parse(), Ok(ByteCount::new(bytes)));
    }

    #[test]
    fn a_printed_whole_size_reads_as_the_same_size(count in 0_u64..1024, power in 0_u32..6) {
        let size = ByteCount::new(count << (10 * power));
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn a_printed_rate_reads_as_the_same_rate(bits_per_second: u64, zeros in 0_u32..12) {
        let rate = BitRate::new(bits_per_second / 10_u64.pow(zeros) * 10_u64.pow(zeros));
        prop_assert_eq!(rate.to_string().parse(), Ok(rate));
    }

    #[test]
    fn a_printed_duration_reads_as_the_same_duration(milliseconds: u64) {
        let duration = Duration::from_millis(milliseconds);
        prop_assert_eq!(parse_duration(&display_duration(duration).to_string()), Ok(duration));
    }

    #[test]
    fn no_text_makes_parsing_panic(text in "\\PC*") {
        let _ = (text.parse::<ByteCount>(), text.parse::<BitRate>(), parse_duration(&text));
    }

    #[test]
    fn no_text_like_a_quantity_makes_parsing_panic(text in "[0-9]{0,25}[.]?[0-9]{0,25} ?[KMGTP]?i?[Bbs]?(it/s)?") {
        let read = (text.parse::<ByteCount>(), text.parse::<BitRate>(), parse_duration(&text));
        if let Err(refusal) = read.0 {
            prop_assert!(refusal.to_string().contains("accepted units"));
        }
    }
}
