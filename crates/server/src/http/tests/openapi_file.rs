//! Is `web/openapi.json`, which the types of the pages are generated from, the description that this server gives?

use crate::http::tests::House;

/// Renewed by `RENEW=1` instead of checked: the line that the failure prints.
#[tokio::test]
async fn the_description_in_the_repository_is_the_one_that_the_server_gives() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/openapi.json");
    let reply = House::open().ask("GET", "/api/openapi.json", &[], "").await;
    let mut description: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    // The address of the server depends on the request.
    description.as_object_mut().unwrap().remove("servers");
    let given = format!("{description:#}\n");
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(path, &given).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let lines = known.lines().zip(given.lines()).take_while(|(known, given)| known == given).count();
    assert!(
        known == given,
        "web/openapi.json differs from the server's description at line {}. Renew both files that depend on it:\n\
         RENEW=1 cargo test -p server --lib description_in_the_repository && (cd web && npm run generate)",
        lines + 1
    );
}
