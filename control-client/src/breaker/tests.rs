use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn fail(breaker: &mut Breaker, times: u32, now: Duration) {
    for _ in 0..times {
        breaker.begin(now);
        breaker.failed(now, None, 0.0);
    }
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let mut breaker = Breaker::default();
    fail(&mut breaker, FAILURES_TO_OPEN - 1, SECOND);
    breaker.succeeded();
    fail(&mut breaker, FAILURES_TO_OPEN - 1, SECOND);
    assert_eq!(breaker.admission(SECOND), Admission::Admitted);
    fail(&mut breaker, 1, SECOND);
    assert_eq!(breaker.admission(SECOND), Admission::NotBefore(11 * SECOND));
}

#[test]
fn one_probe_decides_and_each_failed_one_makes_the_pause_longer() {
    let mut breaker = Breaker::default();
    fail(&mut breaker, FAILURES_TO_OPEN, Duration::ZERO);
    let now = 10 * SECOND;
    assert_eq!(breaker.admission(now), Admission::Admitted);
    breaker.begin(now);
    assert_eq!(breaker.admission(now), Admission::Probing);
    breaker.failed(now, None, 0.0);
    assert_eq!(breaker.admission(now), Admission::NotBefore(30 * SECOND));
    breaker.begin(30 * SECOND);
    breaker.succeeded();
    assert_eq!(breaker.admission(30 * SECOND), Admission::Admitted);
    assert_eq!(breaker, Breaker::default());
}

#[test]
fn a_probe_that_ends_without_telling_is_made_again() {
    let mut breaker = Breaker::default();
    fail(&mut breaker, FAILURES_TO_OPEN, Duration::ZERO);
    breaker.begin(10 * SECOND);
    breaker.ended(11 * SECOND);
    assert_eq!(breaker.admission(11 * SECOND), Admission::Admitted);
}

#[test]
fn requests_that_were_under_way_when_it_opened_do_not_open_it_wider() {
    let mut breaker = Breaker::default();
    fail(&mut breaker, FAILURES_TO_OPEN + 3, Duration::ZERO);
    assert_eq!(breaker.admission(Duration::ZERO), Admission::NotBefore(10 * SECOND));
}

#[test]
fn what_the_source_asks_for_is_kept_up_to_five_minutes() {
    let mut breaker = Breaker::default();
    breaker.failed(Duration::ZERO, Some(60 * SECOND), 0.0);
    assert_eq!(breaker.admission(Duration::ZERO), Admission::NotBefore(60 * SECOND));
    let mut breaker = Breaker::default();
    breaker.failed(Duration::ZERO, Some(86_400 * SECOND), 0.0);
    assert_eq!(breaker.admission(Duration::ZERO), Admission::NotBefore(300 * SECOND));
}

#[test]
fn a_source_that_stays_away_is_not_waited_for_but_asked_now_and_then() {
    let mut breaker = Breaker::default();
    let mut now = Duration::ZERO;
    fail(&mut breaker, FAILURES_TO_OPEN, now);
    while let Admission::NotBefore(until) = breaker.admission(now) {
        now = until;
        fail(&mut breaker, 1, now);
    }
    assert_eq!(now, (10 + 20 + 40 + 80 + 160) * SECOND);
    assert_eq!(breaker.admission(now), Admission::Down);
    assert_eq!(breaker.admission(now + 299 * SECOND), Admission::Down);
    assert_eq!(breaker.admission(now + 300 * SECOND), Admission::Admitted, "its moment has come");
    breaker.begin(now + 300 * SECOND);
    assert_eq!(breaker.admission(now + 300 * SECOND), Admission::Probing);
    breaker.succeeded();
    assert_eq!(breaker.admission(now + 300 * SECOND), Admission::Admitted);
}
