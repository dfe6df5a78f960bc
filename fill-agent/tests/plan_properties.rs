//! What holds of every plan, tried on plans for small, crowded appliances by the thousand: each is carried
//! out on a model of the disks, and its worth compared with the best of all choices that there are.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "plan_properties/appliance.rs"]
mod appliance;
#[path = "plan_properties/best_of_all.rs"]
mod best_of_all;
#[path = "plan_properties/dual_bound.rs"]
mod dual_bound;
#[path = "plan_properties/execution.rs"]
mod execution;

use fill_agent::plan::{RetireReason, Skipped, plan};
use proptest::prelude::*;

use appliance::{Appliance, Shape, appliance, large_appliance};
use best_of_all::{best_of_all, worth_of};
use dual_bound::dual_bound;
use execution::carry_out;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_step_has_room_and_bytes_and_nothing_is_fetched_or_retired_twice(appliance in appliance(Shape::CROWDED)) {
        carry_out(&appliance, &plan(&appliance.input()))?;
    }

    #[test]
    fn every_entry_is_held_fetched_displaced_or_left_out_with_a_reason(appliance in appliance(Shape::CROWDED)) {
        let plan = plan(&appliance.input());
        let displaced = plan.all_retires().filter(|retire| {
            retire.why == RetireReason::Displaced && appliance.is_an_entry(&retire.key)
        });
        let displaced = displaced.count();
        let told = plan.held as usize + plan.fetches.len() + plan.skipped.len() + displaced;
        prop_assert_eq!(told, appliance.entries.len());
        prop_assert!(plan.skipped.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn the_best_comes_first_class_by_class(appliance in appliance(Shape::CROWDED)) {
        let plan = plan(&appliance.input());
        let order: Vec<_> = plan.fetches.iter().map(|fetch| {
            let entry = &appliance.entries[fetch.entry];
            let density = appliance.value(entry) as f64 / fetch.missing_bytes as f64;
            (entry.class, density)
        }).collect();
        let in_order = |one: &(_, f64), other: &(_, f64)| one.0 < other.0 || one.0 == other.0 && one.1 >= other.1;
        prop_assert!(order.is_sorted_by(in_order), "{:?}", order);
    }

    #[test]
    fn the_same_appliance_gets_the_same_plan_in_whatever_order_it_is_told(mut appliance in appliance(Shape::CROWDED)) {
        let before = plan(&appliance.input());
        prop_assert_eq!(&plan(&appliance.input()), &before);
        appliance.held.reverse();
        prop_assert_eq!(plan(&appliance.input()), before);
    }

    #[test]
    fn nothing_expires_by_a_clock_that_is_not_synchronised(mut appliance in appliance(Shape::CROWDED)) {
        appliance.clock_is_synchronised = false;
        let plan = plan(&appliance.input());
        prop_assert!(plan.all_retires().all(|retire| retire.why != RetireReason::Expired));
        prop_assert!(!plan.skipped.iter().any(|(_, why)| matches!(why, Skipped::Expired | Skipped::ExpiresSoon)));
    }

    #[test]
    fn an_appliance_that_holds_its_list_has_nothing_to_do(mut appliance in appliance(Shape::CROWDED)) {
        appliance.clock_is_synchronised = false;
        appliance.held.retain(|held| appliance.entries.iter().all(|entry| entry.path != held.key.path));
        let one_each = appliance.entries.iter().map(|entry| fill_agent::plan::Held {
            key: control_client::content::BundleKey { path: entry.path.clone(), generation: entry.generation },
            volume: 0,
            file_bytes: entry.bytes,
            expires_at: None,
        });
        appliance.held.extend(one_each.collect::<Vec<_>>());
        appliance.volumes[0].is_serving = true;
        let plan = plan(&appliance.input());
        prop_assert_eq!(plan.held as usize, appliance.entries.len());
        prop_assert!(plan.fetches.is_empty() && plan.skipped.is_empty());
        prop_assert!(plan.retires.iter().all(|retire| retire.why == RetireReason::Superseded));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    /// The promise is one in a hundred; on instances that fit the exact search whole, it is the optimum.
    #[test]
    fn a_small_plan_is_as_good_as_the_best_of_all_choices(appliance in appliance(Shape::SMALL)) {
        let plan = plan(&appliance.input());
        let best = best_of_all(&appliance);
        let found = worth_of(&appliance, &plan);
        prop_assert!(found == best, "found {:?}, best {:?}: {:#?}", found, best, plan);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_large_plan_is_within_a_hundredth_of_what_no_plan_can_pass(appliance in large_appliance()) {
        let plan = plan(&appliance.input());
        carry_out(&appliance, &plan)?;
        let bound = dual_bound(&appliance);
        let found = bound.worth_of(&appliance, &plan);
        prop_assert!(found >= 0.99 * bound.most, "found {}, at most {}", found, bound.most);
    }
}

#[test]
fn two_hundred_thousand_entries_on_forty_full_volumes_are_planned() {
    let appliance = Appliance::of_a_large_site(200_000, 40);
    let began = std::time::Instant::now();
    let plan = plan(&appliance.input());
    println!("{} fetches in {:?}", plan.fetches.len(), began.elapsed());
    carry_out(&appliance, &plan).unwrap();
    assert!(plan.fetches.len() > 1_000, "{}", plan.fetches.len());
}
