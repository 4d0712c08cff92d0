//! The API's description.

use crate::engine::Role;
use crate::http::tests::{House, ID};

/// The description follows the code: every path of it is there, with its methods.
#[tokio::test]
async fn the_description_describes_what_there_is() {
    let house = House::open();
    let description: serde_json::Value =
        serde_json::from_str(&house.ask("GET", "/api/openapi.json", &[], "").await.body).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let mut described: Vec<_> = paths.keys().map(String::as_str).collect();
    described.sort_unstable();
    let mut templates = house.front.templates();
    let pages = ["/", "/publish/{stream}", "/watch/{stream}", "/assets/{file}", "other"];
    templates.retain(|path| !pages.contains(&path.as_str()));
    templates.sort_unstable();
    assert_eq!(described, templates);
    for (path, methods) in paths {
        // Subscriptions are numbered as they are made.
        let subscription = if path.starts_with("/whip") { "2" } else { "1" };
        let path = path.replace("{stream}", "demo").replace("{session}", ID).replace("{subscription}", subscription);
        // Backwards: a resource is read before it is deleted.
        for method in methods.as_object().unwrap().keys().rev().filter(|method| *method != "parameters") {
            house.engine.has_session(if path.starts_with("/whip") { Role::Publisher } else { Role::Viewer });
            let reply = house.ask(&method.to_uppercase(), &path, &[], "").await;
            assert_ne!(reply.status, 405, "{method} {path}");
            assert!(reply.status != 404, "{method} {path}");
        }
    }
}
