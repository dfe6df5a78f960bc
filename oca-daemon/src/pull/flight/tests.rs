use super::*;

const KEY: &str = "/a";
const PATIENCE: Duration = Duration::from_millis(20);

fn wish(place: u64) -> Wish {
    Wish { part: Part::Whole, place, variant: 0, filling: None, not_before: None }
}

fn flights() -> (Flights, Arc<str>) {
    (Flights::default(), KEY.into())
}

fn arrival(sharing: Sharing) -> Landing {
    let head =
        ArrivalHead::Passing { status: StatusCode::OK, fields: HeaderMap::new(), length: None, why: None };
    Landing::Arrived(Arc::new(Arrival { head, sharing, start: 0 }))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_flight_is_boarded_by_those_for_whom_it_comes_soon_enough() {
    let (flights, key) = flights();
    let first = flights.board(&key, &wish(0));
    assert!(first.passenger.is_first && first.new_flight.is_some());
    assert!(flights.board(&key, &wish(0)).new_flight.is_none());
    assert!(flights.board(&key, &wish(4 << 20)).new_flight.is_none());
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
    let _first = flights.board(&key, &Wish { part, ..wish(1 << 20) });
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
        let flight = flights.board(&key, &wish(0)).new_flight.unwrap();
        flight.land(arrival(sharing));
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
        let Boarded { passenger, new_flight } = flights.board(&key, &wish(0));
        let flight = new_flight.unwrap();
        flight.land(arrival(Sharing::Everyone));
        flight.push(Bytes::from_static(b"abc"));
        assert_eq!(passenger.read(1).await, Ok(Sight::Bytes(Bytes::from_static(b"bc"))));
        flight.end(Ok(()));
        assert_eq!(passenger.read(3).await, Ok(Sight::End));
        let Boarded { passenger, new_flight } = flights.board(&"/b".into(), &wish(0));
        new_flight.unwrap().abandon();
        assert!(matches!(passenger.landing().await, Landing::Failed(PullFailure::Defect)));
        assert_eq!(passenger.read(0).await, Err(PullFailure::Defect));
    });
}

#[test]
fn what_cannot_be_stored_waits_for_the_slowest_and_not_for_ever_where_others_wait_too() {
    run(async {
        let (flights, key) = flights();
        let slow = flights.board(&key, &wish(0));
        let flight = slow.new_flight.unwrap();
        flight.land(arrival(Sharing::Everyone));
        for _ in 0..3 {
            flight.push(Bytes::from_static(b"abc"));
        }
        assert!(
            tokio::time::timeout(PATIENCE * 5, flight.trim_read(6, PATIENCE)).await.is_err(),
            "alone it is waited for"
        );
        let fast = flights.board(&key, &wish(0)).passenger;
        assert!(matches!(fast.read(6).await, Ok(Sight::Bytes(_))));
        flight.trim_read(6, PATIENCE).await;
        assert_eq!(slow.passenger.read(0).await, Ok(Sight::Behind));
        flight.push(Bytes::from_static(b"abc"));
        assert!(matches!(fast.read(9).await, Ok(Sight::Bytes(_))));
        let again = flight.trim_read(6, Duration::from_secs(60));
        assert!(
            tokio::time::timeout(PATIENCE, again).await.is_ok(),
            "who has lost its bytes holds up nobody any more"
        );
        assert!(matches!(fast.read(9).await, Ok(Sight::Bytes(_))));
    });
}

#[test]
fn a_flight_does_not_run_far_ahead_of_everybody() {
    run(async {
        let (flights, key) = flights();
        let Boarded { passenger, new_flight } = flights.board(&key, &wish(0));
        let flight = new_flight.unwrap();
        flight.land(arrival(Sharing::Everyone));
        flight.push(Bytes::from_static(b"abcdef"));
        assert!(tokio::time::timeout(PATIENCE, flight.wait_for_fastest(5)).await.is_err());
        assert!(passenger.read(1).await.is_ok());
        flight.wait_for_fastest(5).await;
        drop(passenger);
        flight.wait_for_fastest(0).await;
    });
}

#[test]
fn what_was_purged_on_its_way_is_not_kept() {
    let (flights, key) = flights();
    let [kept, purged] = ["/a", "/b"].map(|key| flights.board(&key.into(), &wish(0)).new_flight.unwrap());
    flights.purge(|key| key == "/b");
    let mut stored = Vec::new();
    kept.unless_purged(|| stored.push("/a"));
    purged.unless_purged(|| stored.push("/b"));
    assert_eq!(stored, ["/a"]);
    assert!(flights.join(&key, &wish(0)).is_some() && flights.join("/b", &wish(0)).is_none());
}
