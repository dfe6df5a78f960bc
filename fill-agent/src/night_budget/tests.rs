use super::*;

fn night(day: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
}

#[test]
fn what_was_received_is_counted_for_its_night_and_survives_a_restart() {
    let mut budget = NightBudget::default();
    budget.spend(night(0), 60);
    let text = serde_json::to_string(&budget).unwrap();
    let mut budget: NightBudget = serde_json::from_str(&text).unwrap();
    budget.spend(night(0), 30);
    assert_eq!(budget.left(night(0), 100), 10);
    budget.spend(night(0), 30);
    assert_eq!(budget.left(night(0), 100), 0);
    assert_eq!(budget.left(night(1), 100), 100);
}

#[test]
fn a_clock_that_is_set_back_finds_the_night_spent() {
    let mut budget = NightBudget::default();
    (0..5).for_each(|day| budget.spend(night(day), 100));
    assert_eq!(budget.left(night(2), 100), 0);
    budget.spend(night(2), 7);
    assert_eq!(budget.received(night(2)), 107);
}

#[test]
fn old_nights_are_forgotten_and_never_the_one_that_is_counted() {
    let mut budget = NightBudget::default();
    (0..100).for_each(|day| budget.spend(night(day), 1));
    assert_eq!(budget.nights.len(), NIGHTS_MAX);
    assert_eq!(budget.received(night(92)), 0);
    budget.spend(night(-50), 5);
    budget.spend(night(-50), 5);
    assert_eq!(budget.received(night(-50)), 10);
}

#[test]
fn a_state_file_of_nothing_is_a_fresh_one() {
    assert_eq!(serde_json::from_str::<NightBudget>("{}").unwrap(), NightBudget::default());
}
