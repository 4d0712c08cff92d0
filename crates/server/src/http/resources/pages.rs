//! What do people see?
//!
//! The pages of `web/`, built and embedded at compile time (`build.rs`). A file is found by its
//! name in a table, so there is no path to climb out of (threat T24).

use axum::extract::Request;
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};

use crate::http::answer::value;
use crate::http::body::{self, Reply};
use crate::http::exchange::{Exchange, refuse_method};
use crate::http::problem::{Answer, Problem};
use crate::http::table::address::NoRoute;

/// A file of the pages.
struct File {
    /// Relative to `web/dist`.
    path: &'static str,
    bytes: &'static [u8],
    /// A hash of the bytes, in quotes.
    etag: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Stands in for pages that were not built.
const PLACEHOLDER: &str = "<!doctype html><meta charset=\"utf-8\"><title>Nowcast</title>\
    <h1>Nowcast runs, but without its pages</h1>\
    <p>This binary was built before them. Run <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code>, then \
    build the server again. WHIP, WHEP and the API work: see \
    <a href=\"{{root}}/api/openapi.json\">/api/openapi.json</a>.";

/// Stands in the pages for what leads to the server's root (`web/build.mjs`).
const ROOT: &str = "{{root}}";

/// What a page may do: load from here, play, and open the camera. Threat T23.
const POLICY: &str = "default-src 'self'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; \
    worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'";

/// A page, and the pages that may embed it.
pub(super) struct Page {
    pub(super) template: &'static str,
    /// Relative to `web/dist`.
    file: &'static str,
    /// The value of `frame-ancestors` in the page's policy.
    ancestors: &'static str,
}

/// The page that lists the live streams.
pub(super) const HOME: Page = Page { template: "/", file: "index.html", ancestors: "'none'" };
/// The page that publishes. It could be clicked by deceit, so no other page may embed it.
pub(super) const PUBLISH: Page = Page { template: "/publish/{stream}", file: "publish.html", ancestors: "'none'" };
/// The page that watches, which is there to be embedded elsewhere.
pub(super) const WATCH: Page = Page { template: "/watch/{stream}", file: "watch.html", ancestors: "*" };

/// Answers with the page that lists the live streams.
pub(super) async fn home(exchange: Exchange, request: Request) -> Answer {
    page(&HOME, &exchange.root, request.headers())
}

/// Answers with the page that publishes.
pub(super) async fn publish(exchange: Exchange, request: Request) -> Answer {
    page(&PUBLISH, &exchange.root, request.headers())
}

/// Answers with the page that watches.
pub(super) async fn watch(exchange: Exchange, request: Request) -> Answer {
    page(&WATCH, &exchange.root, request.headers())
}

/// Answers an address that names a page but no possible stream: 400 with the page, which explains
/// the rule for names. `None` for requests that do not read, or do not name HTML in `Accept`.
/// `root` is as in [`page`].
pub(in crate::http) fn of_illegal_name(
    error: &NoRoute,
    root: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Option<Reply> {
    let NoRoute::IllegalName { template, .. } = error else { return None };
    let named = [PUBLISH, WATCH].into_iter().find(|page| page.template == template)?;
    if !matches!(*method, Method::GET | Method::HEAD) || !accepts_html(headers) {
        return None;
    }
    // RFC 9110 §13.2.1: conditions count only where the answer would be 200 without them.
    let mut reply = page(&named, root, &HeaderMap::new()).ok()?;
    *reply.status_mut() = StatusCode::BAD_REQUEST;
    let headers = reply.headers_mut();
    headers.remove(header::ETAG);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(reply)
}

/// Whether a request names HTML in `Accept` (RFC 9110 §12.5.1), as browsers do for what they show.
/// `*/*` is what programs send.
fn accepts_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map(str::parse::<f32>);
        is_html && weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0))
    })
}

/// Answers with a page. `root` is the path or the relative reference that leads to the server's
/// root.
fn page(page: &Page, root: &str, headers: &HeaderMap) -> Answer {
    let Page { file: path, ancestors, .. } = *page;
    let (text, etag) = match find(path) {
        Some(file) => (String::from_utf8_lossy(file.bytes), file.etag),
        None => (PLACEHOLDER.into(), "\"placeholder\""),
    };
    // The same page at another root is another text.
    let etag = format!("\"{}-{:016x}\"", etag.trim_matches('"'), fnv1a(root.as_bytes()));
    let served = Served { path, bytes: text.replace(ROOT, root).into(), etag: &etag };
    let mut reply = serve(served, headers)?;
    let policy = format!("{POLICY}; frame-ancestors {ancestors}");
    let headers = reply.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let permissions = "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=(), usb=()";
    headers.insert("permissions-policy", HeaderValue::from_static(permissions));
    Ok(reply)
}

/// A file that pages load.
pub(super) async fn asset(exchange: Exchange, request: Request) -> Answer {
    let file = asset_of(&exchange)?;
    serve(Served { path: file.path, bytes: Bytes::from_static(file.bytes), etag: file.etag }, request.headers())
}

/// Answers a method that files do not have: a missing file is missing by any method.
pub(super) async fn refuse_asset(exchange: Exchange) -> Answer {
    asset_of(&exchange)?;
    refuse_method(exchange).await
}

fn asset_of(exchange: &Exchange) -> Result<&'static File, Problem> {
    let path = exchange.place.file.as_deref().unwrap_or_default();
    let path = if path == "favicon.ico" && find(path).is_none() { "favicon.svg" } else { path };
    let file = find(path).filter(|file| !file.path.ends_with(".html"));
    file.ok_or_else(|| Problem::not_found("there is no such file"))
}

/// What goes out of a file.
struct Served<'a> {
    /// Relative to `web/dist`.
    path: &'a str,
    bytes: Bytes,
    /// In quotes.
    etag: &'a str,
}

fn serve(file: Served<'_>, request: &HeaderMap) -> Answer {
    // RFC 9110 §13.1.2: weak comparison.
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let fresh = known
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == file.etag || tag == "*");
    let mut reply = if fresh {
        body::empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut reply = Reply::new(file.bytes.into());
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(file.path)));
        reply
    };
    let caching = if has_hash(file.path) { "public, max-age=31536000, immutable" } else { "no-cache" };
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    reply.headers_mut().insert(header::ETAG, value(file.etag)?);
    Ok(reply)
}

/// FNV-1a, 64 bits: tells roots apart, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// Whether a file's name carries a hash of its content, as bundlers write it:
/// `assets/main-BxJ3k2Qa.js`.
fn has_hash(path: &str) -> bool {
    let stem = path.strip_prefix("assets/").and_then(|name| name.rsplit_once('.')).map(|(stem, _)| stem);
    let hash = stem.and_then(|stem| stem.rsplit_once(['-', '.'])).map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("woff2") => "font/woff2",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::House;

    #[test]
    fn only_hashed_assets_are_kept_for_ever() {
        let check = |path: &str, expected: bool| assert_eq!(has_hash(path), expected, "{path}");
        check("assets/main-BxJ3k2Qa.js", true);
        check("assets/main.BxJ3k2Qa.css", true);
        check("assets/main-BxJ3k2Q_.css", true);
        check("assets/main.js", false);
        check("assets/main-v2.js", false);
        check("index.html", false);
        check("main-BxJ3k2Qa.js", false);
    }

    #[test]
    fn html_is_accepted_where_it_is_named_with_a_weight() {
        let check = |accept: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(accepts_html(&headers), expected, "{accept}");
        };
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true);
        check("application/json, Text/HTML;level=1;q=0.5", true);
        check("text/html;q=0, */*", false);
        check("text/html;q=x", false);
        check("*/*", false);
        check("text/htmlx", false);
        check("", false);
        assert!(!accepts_html(&HeaderMap::new()));
    }

    #[test]
    fn files_are_told_by_their_etag() {
        let file = || Served { path: "assets/x.js", bytes: Bytes::from_static(b"1"), etag: "\"abc\"" };
        let check = |condition: Option<&'static str>, expected: u16| {
            let mut headers = HeaderMap::new();
            if let Some(condition) = condition {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(condition));
            }
            assert_eq!(serve(file(), &headers).unwrap().status(), expected, "{condition:?}");
        };
        check(None, 200);
        check(Some("\"abc\""), 304);
        check(Some("W/\"abc\""), 304);
        check(Some("\"x\", \"abc\""), 304);
        check(Some("*"), 304);
        check(Some("\"x\""), 200);
    }

    #[tokio::test]
    async fn pages_say_what_they_may_do() {
        let house = House::open();
        for (address, ancestors) in [("/", "'none'"), ("/publish/demo", "'none'"), ("/watch/a/b", "*")] {
            let reply = house.ask("GET", address, &[], "").await;
            reply.is(200);
            reply.has("x-content-type-options", "nosniff").has("referrer-policy", "no-referrer");
            let policy = reply.header("content-security-policy");
            assert!(
                policy.contains("default-src 'self'") && policy.ends_with(&format!("frame-ancestors {ancestors}")),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(reply.header("permissions-policy").contains("camera=(self)"));
        }
        for address in ["/assets/nothing.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/index.html"] {
            house.ask("GET", address, &[], "").await.is(404);
        }
    }

    #[tokio::test]
    async fn an_illegal_name_is_explained_by_the_page_to_browsers_and_by_a_problem_to_programs() {
        let house = House::open();
        let html = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("if-none-match", "*")];
        let rule = "letters, digits";
        let rows = [("/watch/a%20b", "*", ".."), ("/publish/a%20b", "'none'", ".."), ("/watch/a/b%20", "*", "../..")];
        for (address, ancestors, root) in rows {
            let reply = house.ask("GET", address, &html, "").await;
            reply.is(400);
            reply.has("content-type", "text/html; charset=utf-8").has("cache-control", "no-store");
            let policy = reply.header("content-security-policy");
            assert!(policy.ends_with(&format!("frame-ancestors {ancestors}")), "{policy}");
            assert!(reply.body.contains(&format!("\"{root}/")), "{}", reply.body);
            assert!(reply.header("etag").is_empty(), "{address}");
            let head = house.ask("HEAD", address, &html, "").await;
            assert_eq!((head.status, head.body.as_str()), (400, ""));
            for accept in [&[][..], &[("accept", "*/*")], &[("accept", "application/json")]] {
                house.ask("GET", address, accept, "").await.is_problem(400, rule);
            }
            house.ask("POST", address, &html, "").await.is_problem(400, rule);
        }
        for address in ["/whip/a%20b", "/api/v1/streams/a%20b"] {
            house.ask("GET", address, &html, "").await.is_problem(400, rule);
        }
    }
}
