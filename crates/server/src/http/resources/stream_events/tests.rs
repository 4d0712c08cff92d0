//! Events of streams over HTTP.

use std::time::Duration;

use http_body_util::BodyExt;

use crate::http::tests::House;

#[tokio::test(start_paused = true)]
async fn events_tell_at_once_on_change_and_every_two_seconds() {
    let house = House::with(&[("NOWCAST_LIMITS_EVENT_STREAMS", "1")], true);
    let mut reader = house.listen("/api/v1/streams/soon/events").await;
    let began_at = tokio::time::Instant::now();
    assert!(reader.event().await.contains("\"state\":\"waiting\""));
    assert_eq!(began_at.elapsed().as_millis(), 0);
    reader.event().await;
    assert_eq!(began_at.elapsed().as_secs(), 2);

    house.engine.begins("soon");
    assert!(reader.event().await.contains("\"state\":\"live\""));
    assert_eq!(began_at.elapsed().as_millis(), 2100);

    let asked = house.engine.state.lock().unwrap().asked;
    assert!(asked <= 4, "{asked}");
    house.ask("GET", "/api/v1/streams/soon/events", &[], "").await.is_problem(503, "too many event streams");
    drop(reader);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut reader = house.listen("/api/v1/streams/soon/events").await;
    reader.event().await;
    house.stop.send_replace(true);
    assert!(reader.body.frame().await.is_none(), "ends when the server stops");
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_a_stream_are_one_question() {
    let house = House::open();
    let mut readers = Vec::new();
    for _ in 0..100 {
        readers.push(house.listen("/api/v1/streams/demo/events").await);
    }
    for _ in 0..3 {
        for reader in &mut readers {
            reader.event().await;
        }
    }
    assert_eq!(house.engine.state.lock().unwrap().asked, 3);
    drop(readers);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(house.engine.state.lock().unwrap().asked <= 4, "nobody asks for nobody");
}
