//! What do people see?
//!
//! The pages of `web/`, built and embedded at compile time (`build.rs`). A file is found by its name in a table, so
//! there is no path to climb out of (threat T24).

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::api::READ_METHODS;
use super::body::Body;
use super::problem::Problem;
use super::route::{NoRoute, Route};
use super::{Exchange, Reply, session};

/// A file of the pages.
struct File {
    /// Relative to `web/dist`.
    path: &'static str,
    bytes: &'static [u8],
    /// A hash of the bytes, in quotes.
    etag: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// What is live.
    Home,
    /// Publish a stream.
    Publish,
    /// Watch a stream.
    Watch,
}

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

/// Answers with a page. `root` is the path or the relative reference that leads to the server's root.
pub(super) fn page(page: Page, root: &str, method: &Method, headers: &HeaderMap) -> Result<Reply, Problem> {
    let path = match page {
        Page::Home => "index.html",
        Page::Publish => "publish.html",
        Page::Watch => "watch.html",
    };
    let (text, etag) = match find(path) {
        Some(file) => (String::from_utf8_lossy(file.bytes), file.etag),
        None => (PLACEHOLDER.into(), "\"placeholder\""),
    };
    // The same page at another root is another text.
    let etag = format!("\"{}-{:016x}\"", etag.trim_matches('"'), fnv1a(root.as_bytes()));
    let served = Served { path, bytes: text.replace(ROOT, root).into(), etag: &etag };
    let mut reply = serve(served, method, headers)?;
    // The watch page is there to be embedded elsewhere; the others could be clicked by deceit.
    let ancestors = if page == Page::Watch { "*" } else { "'none'" };
    let policy = format!("{POLICY}; frame-ancestors {ancestors}");
    let headers = reply.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let permissions = "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=(), usb=()";
    headers.insert("permissions-policy", HeaderValue::from_static(permissions));
    Ok(reply)
}

/// Answers an address that names a page but no possible stream: 400 with the page, which explains
/// the rule for names. `None` for requests that do not ask for HTML by its name.
pub(super) fn of_illegal_name(error: &NoRoute, exchange: Exchange<'_>) -> Option<Reply> {
    let named = match error {
        NoRoute::IllegalNameOfPage(Route::PublishPage, _) => Page::Publish,
        NoRoute::IllegalNameOfPage(Route::WatchPage, _) => Page::Watch,
        _ => return None,
    };
    if !accepts_html(exchange.headers) {
        return None;
    }
    // RFC 9110 §13.2.1: conditions count only where the answer would be 200 without them.
    let mut reply = page(named, exchange.root, exchange.method, &HeaderMap::new()).ok()?;
    *reply.status_mut() = StatusCode::BAD_REQUEST;
    let headers = reply.headers_mut();
    headers.remove(header::ETAG);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(reply)
}

/// Whether a request asks for HTML by its name, as browsers do for what they show (RFC 9110
/// §12.5.1). `*/*` is what programs send.
fn accepts_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("text/html"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map(str::parse::<f32>);
        is_html && weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0))
    })
}

/// Answers with a file that pages load.
pub(super) fn asset(path: &str, method: &Method, headers: &HeaderMap) -> Result<Reply, Problem> {
    let path = if path == "favicon.ico" && find(path).is_none() { "favicon.svg" } else { path };
    let file = find(path).filter(|file| !file.path.ends_with(".html"));
    let file = file.ok_or_else(|| Problem::not_found("there is no such file"))?;
    serve(Served { path: file.path, bytes: Bytes::from_static(file.bytes), etag: file.etag }, method, headers)
}

/// What goes out of a file.
struct Served<'a> {
    /// Relative to `web/dist`.
    path: &'a str,
    bytes: Bytes,
    /// In quotes.
    etag: &'a str,
}

fn serve(file: Served<'_>, method: &Method, request: &HeaderMap) -> Result<Reply, Problem> {
    only_reads(method)?;
    // RFC 9110 §13.1.2: weak comparison.
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let fresh = known
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == file.etag || tag == "*");
    let mut reply = if fresh {
        session::empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut reply = Response::new(Body::from(file.bytes));
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(file.path)));
        reply
    };
    let caching = if has_hash(file.path) { "public, max-age=31536000, immutable" } else { "no-cache" };
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    reply.headers_mut().insert(header::ETAG, session::value(file.etag)?);
    Ok(reply)
}

/// FNV-1a, 64 bits: tells roots apart, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn only_reads(method: &Method) -> Result<(), Problem> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::method_not_allowed(READ_METHODS)),
    }
}

fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// Whether a file's name carries a hash of its content, as bundlers write it: `assets/main-BxJ3k2Qa.js`.
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
            assert_eq!(serve(file(), &Method::GET, &headers).unwrap().status(), expected, "{condition:?}");
        };
        check(None, 200);
        check(Some("\"abc\""), 304);
        check(Some("W/\"abc\""), 304);
        check(Some("\"x\", \"abc\""), 304);
        check(Some("*"), 304);
        check(Some("\"x\""), 200);
        assert!(serve(file(), &Method::POST, &HeaderMap::new()).is_err());
    }
}
