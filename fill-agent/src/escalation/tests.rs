use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ADMITTED: [Admission; 3] = [Admission::Admitted; 3];

fn source(kind: SourceKind, after_seconds: u32) -> FillSource {
    let name = format!("{kind}-{after_seconds}");
    FillSource { kind, url: format!("http://{name}.example.net"), name, after_seconds }
}

fn peer_then_origin() -> Escalation {
    let sources = [source(SourceKind::Peer, 0), source(SourceKind::Origin, 600)];
    Escalation::new(&sources, Patience::default(), Duration::ZERO)
}

#[test]
fn a_peer_that_does_not_have_it_yet_is_asked_again_until_the_origin_is_due() {
    let mut escalation = peer_then_origin();
    let mut now = Duration::ZERO;
    let mut asked = Vec::new();
    loop {
        match escalation.next(&ADMITTED, now) {
            Next::Fetch(0) => {
                asked.push(now.as_secs());
                escalation.note(0, Answer::Missing, now, 0.0);
            }
            Next::WaitUntil(moment) => now = moment,
            next => {
                assert_eq!((next, now), (Next::Fetch(1), 600 * SECOND));
                break;
            }
        }
    }
    assert_eq!(asked, [0, 5, 15, 35, 75, 135, 195, 255, 315, 375, 435, 495, 555]);
}

#[test]
fn a_bundle_whose_turn_comes_late_waits_for_a_peer_that_lives_and_not_once_more_for_one_that_is_dead() {
    let turn = 7200 * SECOND;
    let mut dead = peer_then_origin();
    assert_eq!(dead.next(&ADMITTED, turn), Next::Fetch(0), "the peer is asked first, however late it is");
    dead.note(0, Answer::Unreachable, turn, 0.0);
    assert_eq!(dead.next(&ADMITTED, turn), Next::Fetch(1));
    let mut alive = peer_then_origin();
    for (asked, next) in [(0, 5), (5, 15), (15, 35)] {
        alive.note(0, Answer::Missing, turn + asked * SECOND, 0.0);
        assert_eq!(alive.next(&ADMITTED, turn + asked * SECOND), Next::WaitUntil(turn + next * SECOND));
    }
    alive.note(0, Answer::Unreachable, turn + 35 * SECOND, 0.0);
    assert_eq!(
        alive.next(&[Admission::Down; 3], turn + 36 * SECOND),
        Next::GiveUp(FailureReason::Unreachable)
    );
    assert_eq!(
        alive.next(&[Admission::Down, Admission::Admitted], turn + 36 * SECOND),
        Next::WaitUntil(turn + 600 * SECOND)
    );
}

#[test]
fn a_peer_that_has_it_at_last_spares_the_origin() {
    let mut escalation = peer_then_origin();
    escalation.note(0, Answer::Missing, Duration::ZERO, 0.0);
    escalation.note(0, Answer::Whole, 5 * SECOND, 0.0);
    assert_eq!(escalation.next(&ADMITTED, 700 * SECOND), Next::Fetch(0));
}

#[test]
fn a_source_that_lies_is_never_asked_again_for_this_bundle() {
    let mut escalation = peer_then_origin();
    escalation.note(0, Answer::WrongBytes, SECOND, 0.0);
    assert_eq!(escalation.next(&ADMITTED, SECOND), Next::WaitUntil(600 * SECOND));
    assert_eq!(escalation.next(&ADMITTED, 600 * SECOND), Next::Fetch(1));
    escalation.note(1, Answer::WrongLength, 601 * SECOND, 0.0);
    assert_eq!(escalation.next(&ADMITTED, 601 * SECOND), Next::GiveUp(FailureReason::WrongBytes));
}

#[test]
fn failures_are_counted_by_volley_and_a_whole_object_forgives_them() {
    let sources = [source(SourceKind::Origin, 0)];
    let mut escalation = Escalation::new(&sources, Patience::default(), Duration::ZERO);
    let mut now = Duration::ZERO;
    for volley in 0..9 {
        // Eight requests were under way.
        (0..8).for_each(|_| escalation.note(0, Answer::Unreachable, now, 0.0));
        let Next::WaitUntil(moment) = escalation.next(&ADMITTED, now) else { panic!("given up at {volley}") };
        now = moment;
        if volley == 3 {
            escalation.note(0, Answer::Whole, now, 0.0);
        }
        if volley == 7 {
            break;
        }
    }
    escalation.note(0, Answer::Refused, now, 0.0);
    assert_eq!(escalation.next(&ADMITTED, now), Next::GiveUp(FailureReason::Refused));
}

#[test]
fn a_busy_source_is_left_alone_as_long_as_it_asks_for_up_to_five_minutes() {
    let sources = [source(SourceKind::Origin, 0)];
    let mut escalation = Escalation::new(&sources, Patience::default(), Duration::ZERO);
    escalation.note(0, Answer::Busy(Some(30 * SECOND)), Duration::ZERO, 0.0);
    assert_eq!(escalation.next(&ADMITTED, SECOND), Next::WaitUntil(30 * SECOND));
    escalation.note(0, Answer::Busy(Some(86_400 * SECOND)), 30 * SECOND, 0.0);
    assert_eq!(escalation.next(&ADMITTED, 31 * SECOND), Next::WaitUntil(330 * SECOND));
}

#[test]
fn an_open_breaker_passes_the_bundle_on_and_a_dead_source_is_not_waited_for() {
    let sources = [source(SourceKind::Peer, 0), source(SourceKind::Origin, 0)];
    let escalation = Escalation::new(&sources, Patience::default(), Duration::ZERO);
    let open = Admission::NotBefore(40 * SECOND);
    assert_eq!(escalation.next(&[open, Admission::Admitted], SECOND), Next::Fetch(1));
    assert_eq!(escalation.next(&[open, Admission::Probing], SECOND), Next::WaitUntil(2 * SECOND));
    let down = Admission::Down;
    assert_eq!(escalation.next(&[down, open], SECOND), Next::WaitUntil(40 * SECOND));
    assert_eq!(escalation.next(&[down, down], SECOND), Next::GiveUp(FailureReason::Unreachable));
    assert_eq!(escalation.next(&[down, Admission::Admitted], 300 * SECOND), Next::Fetch(1));
}

#[test]
fn a_bundle_without_sources_is_given_up_at_once() {
    let escalation = Escalation::new(&[], Patience::default(), Duration::ZERO);
    assert_eq!(escalation.next(&[], Duration::ZERO), Next::GiveUp(FailureReason::NoSource));
}

#[test]
fn peers_that_never_have_it_are_given_up_an_hour_after_the_last_source_was_due() {
    let sources = [source(SourceKind::Peer, 0), source(SourceKind::Peer, 60)];
    let mut escalation = Escalation::new(&sources, Patience::default(), Duration::ZERO);
    let mut now = Duration::ZERO;
    while now < 3660 * SECOND {
        match escalation.next(&ADMITTED, now) {
            Next::Fetch(index) => escalation.note(index, Answer::Missing, now, 0.0),
            Next::WaitUntil(moment) => now = moment,
            Next::GiveUp(reason) => panic!("{reason:?} at {now:?}"),
        }
    }
    assert_eq!(escalation.next(&ADMITTED, now), Next::GiveUp(FailureReason::Refused));
}
