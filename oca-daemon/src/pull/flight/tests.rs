use super::*;
use crate::limits::FLIGHT_LEAD_BYTES_MIN;
use std::time::Duration;

const KEY: &str = "/a";
const PATIENCE: Duration = Duration::from_millis(20);

fn wish(place: u64) -> Wish {
    Wish { part: Part::Whole, place, variant: 0, filling: None, not_before: None }
}

fn flights() -> (Flights, Arc<str>) {
    (Flights::default(), KEY.into())
}

fn arrival(sharing: Sharing) -> Landing {
    let head = ArrivalHead::Passing {
        status: StatusCode::OK,
        fields: HeaderMap::new(),
        length: None,
        selecting: None,
        why: None,
    };
    Landing::Arrived(Arc::new(Arrival { head, sharing, start: 0 }))
}

/// A seat in a flight that fits, or in a new one.
fn board(flights: &Flights, key: &Arc<str>, wish: &Wish) -> Boarded {
    flights.board_if(key, wish, || true).expect("one may be made")
}

/// A new flight that has landed, and who it was made for.
fn landed(flights: &Flights, key: &Arc<str>, sharing: Sharing) -> (Passenger, Arc<Flight>) {
    let Boarded { passenger, new_flight } = board(flights, key, &wish(0));
    let flight = new_flight.unwrap();
    flight.land(arrival(sharing));
    (passenger, flight)
}

/// What takes longer waits for ever.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends") })
}

async fn waits(future: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(PATIENCE, future).await.is_err()
}

#[test]
fn a_flight_is_boarded_by_those_for_whom_it_comes_soon_enough() {
    let (flights, key) = flights();
    let first = board(&flights, &key, &wish(0));
    assert!(first.passenger.is_first && first.new_flight.is_some());
    assert!(board(&flights, &key, &wish(0)).new_flight.is_none());
    assert!(board(&flights, &key, &wish(4 << 20)).new_flight.is_none());
    assert!(flights.join(KEY, &wish((4 << 20) + 1)).is_none(), "too far ahead");
    assert!(flights.join(KEY, &Wish { variant: 1, ..wish(0) }).is_none(), "another variant");
    assert!(flights.join(KEY, &Wish { part: Part::Last(9), ..wish(0) }).is_none(), "its place is not known");
    assert!(
        flights.join(KEY, &Wish { not_before: Some(Instant::now()), ..wish(0) }).is_none(),
        "it began before"
    );
    assert!(flights.join("/b", &wish(0)).is_none());
}

#[test]
fn a_flight_of_blocks_is_boarded_for_what_it_covers() {
    let (flights, key) = flights();
    let part = Part::Blocks { start: 1 << 20, end: Some(2 << 20) };
    let _first = board(&flights, &key, &Wish { part, ..wish(1 << 20) });
    for (place, is_covered) in
        [((1 << 20) - 1, false), (1 << 20, true), ((2 << 20) - 1, true), (2 << 20, false)]
    {
        assert_eq!(flights.join(KEY, &wish(place)).is_some(), is_covered, "{place}");
    }
}

#[test]
fn nobody_boards_a_flight_that_is_not_for_everyone_or_has_let_go_of_its_beginning() {
    for (sharing, is_open) in [(Sharing::Everyone, true), (Sharing::Waiting, false), (Sharing::First, false)]
    {
        let (flights, key) = flights();
        let (_, flight) = landed(&flights, &key, sharing);
        assert_eq!(flights.join(KEY, &wish(0)).is_some(), is_open, "{sharing:?}");
        flight.push(Bytes::from_static(b"abc"));
        flight.push(Bytes::from_static(b"def"));
        flight.stored(3);
        flight.trim_stored(0);
        assert!(flights.join(KEY, &wish(0)).is_none());
        assert_eq!(flights.join(KEY, &wish(3)).is_some(), is_open);
        flight.end(Ok(()));
        assert!(flights.join(KEY, &wish(3)).is_none());
    }
}

#[test]
fn passengers_read_what_comes_until_the_end_or_learn_why_there_is_none() {
    run(async {
        let (flights, key) = flights();
        let (passenger, flight) = landed(&flights, &key, Sharing::Everyone);
        flight.push(Bytes::from_static(b"abc"));
        assert_eq!(passenger.read(1, None).await, Ok(Sight::Bytes(Bytes::from_static(b"bc"))));
        flight.end(Ok(()));
        assert_eq!(passenger.read(3, None).await, Ok(Sight::End));
        let Boarded { passenger, new_flight } = board(&flights, &"/b".into(), &wish(0));
        new_flight.unwrap().abandon();
        assert!(matches!(passenger.landing().await, Landing::Failed(PullFailure::Defect)));
        assert_eq!(passenger.read(0, None).await, Err(PullFailure::Defect));
    });
}

#[test]
fn what_cannot_be_stored_waits_for_the_slowest_and_not_for_ever_where_others_wait_too() {
    run(async {
        let (flights, key) = flights();
        let (slow, flight) = landed(&flights, &key, Sharing::Everyone);
        for _ in 0..3 {
            flight.push(Bytes::from_static(b"abc"));
        }
        assert!(
            tokio::time::timeout(PATIENCE * 5, flight.trim_read(6, PATIENCE)).await.is_err(),
            "alone it is waited for"
        );
        let fast = board(&flights, &key, &wish(0)).passenger;
        assert!(matches!(fast.read(6, None).await, Ok(Sight::Bytes(_))));
        flight.trim_read(6, PATIENCE).await;
        assert_eq!(slow.read(0, None).await, Ok(Sight::Behind));
        flight.push(Bytes::from_static(b"abc"));
        assert!(matches!(fast.read(9, None).await, Ok(Sight::Bytes(_))));
        let again = flight.trim_read(6, Duration::from_secs(60));
        assert!(
            tokio::time::timeout(PATIENCE, again).await.is_ok(),
            "who has lost its bytes holds up nobody any more"
        );
        assert!(matches!(fast.read(9, None).await, Ok(Sight::Bytes(_))));
    });
}

#[test]
fn a_flight_runs_ahead_of_everybody_by_a_little_and_then_by_what_was_taken() {
    run(async {
        let (flights, key) = flights();
        let (passenger, flight) = landed(&flights, &key, Sharing::Everyone);
        let least = Bytes::from(vec![0; FLIGHT_LEAD_BYTES_MIN as usize]);
        flight.push(least.clone());
        flight.wait_for_fastest().await;
        flight.push(Bytes::from_static(b"a"));
        assert!(tokio::time::timeout(PATIENCE, flight.wait_for_fastest()).await.is_err());
        assert!(passenger.read(0, None).await.is_ok() && passenger.read(1, None).await.is_ok());
        flight.wait_for_fastest().await;
        // Twice as much was taken: it may run twice as far ahead.
        for _ in 0..3 {
            flight.push(least.clone());
        }
        assert!(passenger.read(2 * FLIGHT_LEAD_BYTES_MIN + 1, None).await.is_ok());
        flight.wait_for_fastest().await;
        drop(passenger);
        flight.push(vec![0; 3 * FLIGHT_LEAD_BYTES_MIN as usize].into());
        flight.wait_for_fastest().await;
    });
}

#[test]
fn who_comes_on_board_wakes_a_leader_who_waits_for_others() {
    run(async {
        let (flights, key) = flights();
        let (_slow, flight) = landed(&flights, &key, Sharing::Everyone);
        flight.push(vec![0; FLIGHT_LEAD_BYTES_MIN as usize + 1].into());
        let mut going_on = std::pin::pin!(flight.wait_for_fastest());
        assert!(waits(&mut going_on).await);
        let further = flights.join(KEY, &wish(FLIGHT_LEAD_BYTES_MIN + 1)).unwrap();
        // It does not move: it is where it wants to be.
        assert!(waits(async { drop(further.read(FLIGHT_LEAD_BYTES_MIN + 1, None).await) }).await);
        going_on.await;
    });
}

#[test]
fn who_was_waited_for_alone_has_patience_shown_to_it_from_when_another_comes() {
    run(async {
        let (flights, key) = flights();
        let (slow, flight) = landed(&flights, &key, Sharing::Everyone);
        for _ in 0..3 {
            flight.push(Bytes::from_static(b"abc"));
        }
        let mut room = std::pin::pin!(flight.trim_read(6, PATIENCE * 50));
        assert!(tokio::time::timeout(PATIENCE * 10, &mut room).await.is_err());
        let second = flights.join(KEY, &wish(0)).unwrap();
        assert!(waits(&mut room).await);
        assert_eq!(second.read(0, None).await, Ok(Sight::Bytes(Bytes::from_static(b"abc"))));
        room.await;
        assert_eq!(slow.read(0, None).await, Ok(Sight::Behind));
    });
}

#[test]
fn a_flight_that_stops_for_want_of_passengers_is_boarded_by_nobody_any_more() {
    let (flights, key) = flights();
    let (passenger, flight) = landed(&flights, &key, Sharing::Everyone);
    assert!(!flight.end_if_deserted(|_| false), "somebody is on board");
    drop(passenger);
    assert!(!flight.end_if_deserted(|_| true));
    let again = flights.join(KEY, &wish(0));
    assert!(again.is_some() && !flight.end_if_deserted(|_| false));
    drop(again);
    assert!(flight.end_if_deserted(|_| false));
    assert!(flights.join(KEY, &wish(0)).is_none());
}

#[test]
fn who_is_answered_from_the_head_has_the_first_block_finished() {
    let (flights, key) = flights();
    let (passenger, flight) = landed(&flights, &key, Sharing::Everyone);
    passenger.take_head(0);
    drop(passenger);
    let is_over = || flight.end_if_deserted(|progress| progress.is_worth_finishing(None, 0));
    flight.push(vec![0; (1 << 20) - 1].into());
    assert!(!is_over());
    flight.push(Bytes::from_static(b"a"));
    assert!(is_over());
}

#[test]
fn where_all_of_it_is_sent_instead_of_a_part_its_beginning_is_kept_until_it_is_known_what_is_read() {
    run(async {
        let (flights, key) = flights();
        let part = Part::Blocks { start: 9 << 20, end: None };
        let Boarded { passenger, new_flight } = board(&flights, &key, &Wish { part, ..wish(9 << 20) });
        let flight = new_flight.unwrap();
        flight.land(arrival(Sharing::First));
        for _ in 0..4 {
            flight.push(Bytes::from_static(b"abc"));
            // Nothing is stored, and there is room for three bytes.
            let _ = tokio::time::timeout(PATIENCE, flight.trim_read(3, PATIENCE)).await;
        }
        assert_eq!(passenger.read(0, None).await, Ok(Sight::Bytes(Bytes::from_static(b"abc"))));
    });
}

#[test]
fn a_part_that_is_far_within_the_whole_is_waited_for_as_long_as_patience_lasts() {
    run(async {
        let (flights, key) = flights();
        let (passenger, flight) = landed(&flights, &key, Sharing::Everyone);
        let patience = || Some(tokio::time::Instant::now() + PATIENCE);
        assert_eq!(passenger.read((1 << 20) + 1, patience()).await, Ok(Sight::Far));
        let near = passenger.read(1 << 20, patience());
        assert!(tokio::time::timeout(PATIENCE * 5, near).await.is_err(), "it is near");
        flight.push(vec![7; 1 << 20].into());
        flight.push(Bytes::from_static(b"abc"));
        assert_eq!(passenger.read(1 << 20, patience()).await, Ok(Sight::Bytes(Bytes::from_static(b"abc"))));
    });
}

#[test]
fn those_who_had_seats_in_a_flight_that_is_not_stored_board_the_one_that_brings_the_rest() {
    let (flights, key) = flights();
    let [one, other] = [0, 1].map(|_| {
        Arc::new(StoredHead {
            status: StatusCode::OK,
            is_to_credentials: false,
            fields: HeaderMap::new(),
            selecting: crate::pull::caching::Selecting::of(&HeaderMap::new(), &HeaderMap::new()).unwrap(),
            request_time: std::time::SystemTime::UNIX_EPOCH,
            response_time: std::time::SystemTime::UNIX_EPOCH,
            total_length: None,
        })
    });
    let rest = |head: &Arc<StoredHead>| Wish {
        filling: Some(Rest { head: Arc::clone(head), entry: None }),
        ..wish(0)
    };
    let _boarded = board(&flights, &key, &rest(&one));
    assert!(flights.join(KEY, &rest(&one)).is_some());
    assert!(flights.join(KEY, &rest(&other)).is_none(), "it may be of another version");
    assert!(flights.join(KEY, &wish(0)).is_none(), "it may be for others");
}

#[test]
fn what_was_purged_on_its_way_is_not_kept() {
    let (flights, key) = flights();
    let [kept, purged] = ["/a", "/b"].map(|key| board(&flights, &key.into(), &wish(0)).new_flight.unwrap());
    flights.purge(|key| key == "/b");
    let mut stored = Vec::new();
    kept.unless_purged(|| stored.push("/a"));
    purged.unless_purged(|| stored.push("/b"));
    assert_eq!(stored, ["/a"]);
    assert!(flights.join(&key, &wish(0)).is_some() && flights.join("/b", &wish(0)).is_none());
}
