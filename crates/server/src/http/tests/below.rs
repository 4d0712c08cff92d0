//! Behind a reverse proxy that shows the server below a path.

use crate::http::remote::Remote;
use crate::http::tests::{House, ID, SDP};

/// Everything that an answer of a publisher's and a viewer's way says of addresses.
async fn addresses(house: &House, remote: &Remote, headers: &[(&str, &str)], path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for protocol in ["whip", "whep"] {
        let post: Vec<_> = SDP.iter().chain(headers).copied().collect();
        let reply = house.send(remote, "POST", &format!("{path}/{protocol}/demo"), &post, b"v=0").await;
        reply.is(201);
        found.push(reply.header("location"));
        let links = reply.headers.get_all("link").iter().map(|link| link.to_str().unwrap());
        let ours =
            links.filter_map(|link| link.strip_prefix("</")?.split_once('>').map(|(path, _)| format!("/{path}")));
        found.extend(ours);
        let sse = format!("{path}/{protocol}/demo/{ID}/sse");
        let subscribed = house.send(remote, "POST", &sse, headers, b"").await;
        subscribed.is(201);
        found.push(subscribed.header("location"));
    }
    let page = house.send(remote, "GET", &format!("{path}/api/openapi.json"), headers, b"").await;
    page.is(200);
    let description: serde_json::Value = serde_json::from_str(&page.body).unwrap();
    found.push(description["servers"][0]["url"].as_str().unwrap().to_owned());
    let page = house.send(remote, "GET", &format!("{path}/watch/demo"), headers, b"").await;
    page.is(200);
    assert!(!page.body.contains("{{"), "{}", page.body);
    found
}

fn proxy() -> Remote {
    Remote { peer: "127.0.0.1:5000".parse().unwrap(), slot: None }
}

fn behind(options: &[(&str, &str)]) -> House {
    let common = [("NOWCAST_HTTP_TRUSTED_PROXIES", "127.0.0.1"), ("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0")];
    House::with(&[&common, options].concat(), true)
}

fn all_below(prefix: &str, found: &[String]) {
    assert_eq!(found.len(), 9);
    for address in found {
        assert!(
            address.starts_with(&format!("{prefix}/whip/demo/"))
                || address.starts_with(&format!("{prefix}/whep/demo/"))
                || address == prefix,
            "{address} is not below {prefix}"
        );
    }
}

#[tokio::test]
async fn addresses_begin_with_the_base_path_whether_the_proxy_strips_it_or_not() {
    let house = behind(&[("NOWCAST_HTTP_BASE_PATH", "/live")]);
    for path in ["", "/live"] {
        all_below("/live", &addresses(&house, &proxy(), &[], path).await);
    }
    for path in ["/", "/live", "/live/", "/live/publish/a/b", "/publish/a/b"] {
        house.send(&proxy(), "GET", path, &[], b"").await.is(200);
    }
}

#[tokio::test]
async fn addresses_begin_with_the_prefix_that_a_trusted_proxy_forwards() {
    let header: &[(&str, &str)] = &[("x-forwarded-prefix", "/live/")];
    for base in ["", "/other"] {
        let house = behind(&[("NOWCAST_HTTP_BASE_PATH", base)]);
        for path in ["", "/live"] {
            all_below("/live", &addresses(&house, &proxy(), header, path).await);
        }
    }
}

#[tokio::test]
async fn a_prefix_is_not_believed_from_others_nor_when_it_leads_elsewhere() {
    let stranger = Remote { peer: "192.0.2.1:5000".parse().unwrap(), slot: None };
    let house = behind(&[]);
    let location = async |remote: &Remote, prefix: &str| {
        let headers = [SDP[0], ("x-forwarded-prefix", prefix)];
        house.send(remote, "POST", "/whip/demo", &headers, b"v=0").await.header("location")
    };
    assert_eq!(location(&proxy(), "/live").await, format!("/live/whip/demo/{ID}"));
    let plain = format!("/whip/demo/{ID}");
    assert_eq!(location(&stranger, "/live").await, plain);
    for prefix in
        ["//evil.example", "https://evil.example", "/\\evil.example", "/../..", "evil", "/a?b", "/\"><script>"]
    {
        assert_eq!(location(&proxy(), prefix).await, plain, "{prefix}");
    }
}

#[tokio::test]
async fn a_page_is_another_text_at_another_root() {
    let house = behind(&[]);
    let page = async |path: &str, headers: &[(&str, &str)]| house.send(&proxy(), "GET", path, headers, b"").await;
    let plain = page("/watch/a", &[]).await;
    let deep = page("/watch/a/b", &[]).await;
    let below = page("/watch/a", &[("x-forwarded-prefix", "/live")]).await;
    for (reply, root) in [(&plain, "\"../a"), (&deep, "\"../../a"), (&below, "\"/live/a")] {
        reply.is(200);
        // `a` of `assets` or, where pages were not built, of `api`.
        assert!(reply.body.contains(root), "{root} in {}", reply.body);
    }
    let tags = [plain.header("etag"), deep.header("etag"), below.header("etag")];
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    page("/watch/a", &[("if-none-match", &tags[0])]).await.is(304);
    page("/watch/a", &[("if-none-match", &tags[2])]).await.is(200);
}
