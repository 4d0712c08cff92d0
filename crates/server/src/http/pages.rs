//! What do people see?
//!
//! The pages of `web/`, built and embedded at compile time (`build.rs`). A file is found by its name in a table, so
//! there is no path to climb out of (threat T24).

use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::api::READ_METHODS;
use super::body::Body;
use super::problem::Problem;
use super::{Reply, session};

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
    build the server again. WHIP, WHEP and the API work: see <a href=\"/api/openapi.json\">/api/openapi.json</a>.";

/// What a page may do: load from here, play, and open the camera. Threat T23.
const POLICY: &str = "default-src 'self'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; \
    worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'";

/// Answers with a page.
pub(super) fn page(page: Page, method: &Method, headers: &HeaderMap) -> Result<Reply, Problem> {
    let path = match page {
        Page::Home => "index.html",
        Page::Publish => "publish.html",
        Page::Watch => "watch.html",
    };
    let mut reply = match find(path) {
        Some(file) => serve(file, method, headers)?,
        None => {
            only_reads(method)?;
            let mut reply = Response::new(Body::from(PLACEHOLDER.as_bytes()));
            reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            reply
        }
    };
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

/// Answers with a file that pages load.
pub(super) fn asset(path: &str, method: &Method, headers: &HeaderMap) -> Result<Reply, Problem> {
    let path = if path == "favicon.ico" && find(path).is_none() { "favicon.svg" } else { path };
    let file = find(path).filter(|file| !file.path.ends_with(".html"));
    serve(file.ok_or_else(|| Problem::not_found("there is no such file"))?, method, headers)
}

fn serve(file: &File, method: &Method, request: &HeaderMap) -> Result<Reply, Problem> {
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
    reply.headers_mut().insert(header::ETAG, HeaderValue::from_static(file.etag));
    Ok(reply)
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
    fn files_are_told_by_their_etag() {
        static FILE: File = File { path: "assets/x.js", bytes: b"1", etag: "\"abc\"" };
        let check = |condition: Option<&'static str>, expected: u16| {
            let mut headers = HeaderMap::new();
            if let Some(condition) = condition {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(condition));
            }
            assert_eq!(serve(&FILE, &Method::GET, &headers).unwrap().status(), expected, "{condition:?}");
        };
        check(None, 200);
        check(Some("\"abc\""), 304);
        check(Some("W/\"abc\""), 304);
        check(Some("\"x\", \"abc\""), 304);
        check(Some("*"), 304);
        check(Some("\"x\""), 200);
        assert!(serve(&FILE, &Method::POST, &HeaderMap::new()).is_err());
    }
}
