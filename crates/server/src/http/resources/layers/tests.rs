//! A viewer's layers over HTTP.

use crate::engine::Role;
use crate::http::tests::{House, ID};

#[tokio::test]
async fn a_viewer_wishes_a_layer() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let path = format!("/whep/demo/{ID}/layers");
    let wish = async |body: &str| house.ask("POST", &path, &[("content-type", "application/json")], body).await;
    wish(r#"{"encodingId":"h","maxHeight":360,"paused":true}"#).await.is(200);
    wish("{}").await.is(200);
    for body in ["", "[]", "7", "{", r#"{"maxHeight":-1}"#, r#"{"encodingId":7}"#] {
        wish(body).await.is_problem(400, "the wish cannot be read");
    }
    let refused = wish(r#"{"encodingId":"unknown"}"#).await;
    refused.is_problem(400, "no layer called unknown");
    assert!(refused.body.contains("wish one of q, f"), "{}", refused.body);
    house.ask("GET", &path, &[], "").await.is(200);
    house.ask("DELETE", &path, &[], "").await.is(405);
    assert_eq!(house.said(), [format!("wish {ID} Some(\"h\") Some(360) true"), format!("wish {ID} None None false")]);
}
