//! How does a server that speaks WHIP or WHEP answer a request, in words for people when it does
//! not?
//!
//! HTTP/1.1 over TCP or TLS, as these protocols need it: one request, one answer with a length or
//! in chunks; the connection is kept for the next one. Redirections are followed
//! (draft-ietf-wish-whep-03 §4.4 and RFC 9725 §4.5).

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::url::Url;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) token: Option<String>,
    /// SDP; empty for none.
    pub(crate) body: String,
}

/// An answer that is neither an error nor a redirection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Where the session lies, absolute.
    pub(crate) location: Option<Url>,
    pub(crate) body: String,
}

/// An HTTP client with one persistent connection.
pub(crate) struct Client {
    tls: Arc<ClientConfig>,
    kept: Option<Kept>,
}

struct Kept {
    authority: String,
    is_https: bool,
    stream: Stream,
}

type Stream = BufReader<Box<dyn Both>>;

trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

/// What came, before anybody has judged it.
struct Raw {
    status: u16,
    location: Option<String>,
    body: String,
    is_kept: bool,
}

/// A server that takes longer than this to answer an offer is not fit to be measured.
const PATIENCE: Duration = Duration::from_secs(10);
/// Redirections that are followed one after another; browsers follow 20.
const MAX_REDIRECTIONS: usize = 5;
/// The longest body: an SDP of this length would be absurd.
const MAX_BODY_BYTES: usize = 1 << 20;
/// The longest line of a header, and how many there may be.
const MAX_LINE_BYTES: u64 = 16 << 10;
const MAX_LINES: usize = 200;

impl Client {
    pub(crate) fn new(tls: Arc<ClientConfig>) -> Client {
        Client { tls, kept: None }
    }

    /// Asks, follows redirections, and returns an answer of success.
    pub(crate) fn send(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let mut request = request.clone();
        for _ in 0..=MAX_REDIRECTIONS {
            let raw = self.exchange(&request)?;
            let location = raw.location.map(|location| request.url.join(&location)).transpose();
            match raw.status {
                200..=299 => return Ok(Reply { status: raw.status, location: location?, body: raw.body }),
                301 | 302 | 307 | 308 => {
                    let to = location?.with_context(|| {
                        format!("{} answered {} and does not say where to go", request.url, raw.status)
                    })?;
                    if to.authority() != request.url.authority() {
                        // A token is for whom it was given to.
                        request.token = None;
                    }
                    request.url = to;
                }
                status => return Err(refusal(&request, status, &raw.body)),
            }
        }
        bail!("{} {} leads from one place to the next more than {MAX_REDIRECTIONS} times", request.method, request.url)
    }

    fn exchange(&mut self, request: &Request) -> anyhow::Result<Raw> {
        let authority = request.url.authority();
        let kept = self.kept.take_if(|kept| kept.authority == authority && kept.is_https == request.url.is_https);
        if let Some(Kept { mut stream, .. }) = kept
            && write(&mut stream, request).is_ok()
            && stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
        {
            return self.read(stream, request);
        }
        // No connection, or the server has closed the old one meanwhile.
        let mut stream = connect(&request.url, &self.tls)?;
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                anyhow!("{} did not answer within {PATIENCE:?}", request.url)
            }
            _ => anyhow!(error).context(format!("the connection to {} broke", request.url)),
        };
        write(&mut stream, request).map_err(failed)?;
        let is_empty = stream.fill_buf().map_err(failed)?.is_empty();
        ensure!(!is_empty, "{} closed the connection without an answer", request.url);
        self.read(stream, request)
    }

    fn read(&mut self, mut stream: Stream, request: &Request) -> anyhow::Result<Raw> {
        let raw =
            read(&mut stream, request).with_context(|| format!("no answer to {} {}", request.method, request.url))?;
        if raw.is_kept {
            let authority = request.url.authority();
            self.kept = Some(Kept { authority, is_https: request.url.is_https, stream });
        }
        Ok(raw)
    }
}

fn connect(url: &Url, tls: &Arc<ClientConfig>) -> anyhow::Result<Stream> {
    let authority = url.authority();
    let tcp = TcpStream::connect(&authority).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => anyhow!("nobody listens at {authority}; is the server running there?"),
        _ => anyhow!("{authority} cannot be reached: {error}"),
    })?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    if !url.is_https {
        return Ok(BufReader::new(Box::new(tcp)));
    }
    let name = ServerName::try_from(url.host.clone()).with_context(|| format!("{} is no name of a host", url.host))?;
    let mut stream = StreamOwned::new(ClientConnection::new(tls.clone(), name)?, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| {
            let hint = match error.to_string() {
                text if text.contains("certificate") => "; --ca trusts the one that you name, --insecure takes any",
                _ => "; is it https that this server speaks?",
            };
            anyhow!("no TLS connection to {authority}: {error}{hint}")
        })?;
    }
    Ok(BufReader::new(Box::new(stream)))
}

fn write(stream: &mut Stream, request: &Request) -> std::io::Result<()> {
    let Request { method, url, token, body } = request;
    let mut text =
        format!("{method} {} HTTP/1.1\r\nhost: {}\r\nuser-agent: nowcast-bench\r\n", url.path, url.authority());
    if let Some(token) = token {
        text += &format!("authorization: Bearer {token}\r\n");
    }
    if !body.is_empty() {
        text += "content-type: application/sdp\r\n";
    }
    if *method != "DELETE" {
        text += "accept: application/sdp\r\n";
        text += &format!("content-length: {}\r\n", body.len());
    }
    text += "\r\n";
    text += body;
    stream.get_mut().write_all(text.as_bytes())?;
    stream.get_mut().flush()
}

fn line(stream: &mut Stream) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    stream.take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    ensure!(bytes.ends_with(b"\n"), "it ends in the middle of a line");
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn read(stream: &mut Stream, request: &Request) -> anyhow::Result<Raw> {
    ensure!(
        stream.fill_buf()?.starts_with(b"HTTP/"),
        "what listens at {} speaks no HTTP{}",
        request.url.authority(),
        if request.url.is_https { "" } else { "; perhaps https?" }
    );
    loop {
        let first = line(stream)?;
        let status: u16 = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .with_context(|| format!("what listens at {} speaks no HTTP: {first:?}", request.url.authority()))?;
        let (mut len, mut is_chunked, mut location) = (None, false, None);
        let mut is_kept = first.starts_with("HTTP/1.1");
        for n in 0.. {
            ensure!(n < MAX_LINES, "it has more than {MAX_LINES} headers");
            let line = line(stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = Some(value.parse().with_context(|| format!("{value} is no length"))?),
                "connection" if value.eq_ignore_ascii_case("close") => is_kept = false,
                "transfer-encoding" => is_chunked = value.to_ascii_lowercase().contains("chunked"),
                "location" => location = Some(value.to_owned()),
                _ => {}
            }
        }
        // RFC 9110 §15.2: 100 to 199 announce another answer.
        if (100..200).contains(&status) {
            continue;
        }
        let mut body = Vec::new();
        if is_chunked {
            read_chunks(stream, &mut body)?;
        } else if !matches!(status, 204 | 304) {
            let most = len.unwrap_or(MAX_BODY_BYTES);
            ensure!(most <= MAX_BODY_BYTES, "its body of {most} bytes is longer than {MAX_BODY_BYTES}");
            stream.take(most as u64).read_to_end(&mut body)?;
            ensure!(len.is_none_or(|len| len == body.len()), "it ends after {} of {most} bytes", body.len());
            is_kept &= len.is_some();
        }
        return Ok(Raw { status, location, body: String::from_utf8_lossy(&body).into_owned(), is_kept });
    }
}

/// RFC 9112 §7.1.
fn read_chunks(stream: &mut Stream, body: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        let size = line(stream)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("{size} is no length of a chunk"))?;
        if size == 0 {
            // Trailers, and an empty line.
            while !line(stream)?.is_empty() {}
            return Ok(());
        }
        ensure!(body.len().saturating_add(size) <= MAX_BODY_BYTES, "its body is longer than {MAX_BODY_BYTES} bytes");
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        line(stream)?;
    }
}

/// Returns the error text for a refusal of the server: the reason, and a remedy.
fn refusal(request: &Request, status: u16, body: &str) -> anyhow::Error {
    let Request { method, url, token, .. } = request;
    let what = match (status, token) {
        (401, None) => "the server wants a token; give one".to_owned(),
        (401, Some(_)) => "the server does not know this token".to_owned(),
        (403, _) => "the server forbids it; the token does not allow this stream".to_owned(),
        (404 | 405, _) => "there is no such endpoint or stream; check the URL".to_owned(),
        (406, _) => "the server and we have no codec in common".to_owned(),
        (415, _) => "the server takes no SDP there; is this its WHIP or WHEP endpoint?".to_owned(),
        (429, _) => "the server limits how many sessions one address may have or begin; raise that limit".to_owned(),
        (503, _) => "the server is full, or stops".to_owned(),
        _ => "the server refused".to_owned(),
    };
    let said = said(body);
    anyhow!("{method} {url} was answered with {status}: {what}{}{said}", if said.is_empty() { "" } else { ": " })
}

/// Returns the text in the body of an error: detail and fix of a problem (RFC 9457), or the
/// beginning of a plain text.
fn said(body: &str) -> String {
    if let Ok(problem) = serde_json::from_str::<serde_json::Value>(body) {
        let field = |name: &str| problem.get(name).and_then(|value| value.as_str());
        // Beside RFC 9457's, names that servers have for it.
        let what = ["detail", "title", "error", "message"].into_iter().find_map(field);
        let said: Vec<&str> = [what, field("fix")].into_iter().flatten().collect();
        if !said.is_empty() {
            return said.join("; ");
        }
    }
    let text: String = body.trim().chars().take(MAX_SAID_CHARS).collect();
    text.replace(['\r', '\n'], " ")
}

/// What of a strange body is worth a person's time.
const MAX_SAID_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::tls::Trust;

    #[test]
    fn success_comes_with_its_location() {
        let url = responder(&["HTTP/1.1 201 Created\r\nLocation: s/1\r\nContent-Length: 3\r\n\r\nv=0"]);
        let reply = post(&url).unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (201, "v=0"));
        assert_eq!(reply.location.unwrap().path, "/whep/s/1");
    }

    #[test]
    fn chunks_interim_answers_and_closed_connections_are_understood() {
        let url = responder(&[
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nv=0\r\n2\r\nab\r\n0\r\n\r\n",
        ]);
        assert_eq!(post(&url).unwrap().body, "v=0ab");
        let url = responder(&["HTTP/1.0 200 OK\r\n\r\nto the end"]);
        assert_eq!(post(&url).unwrap().body, "to the end");
    }

    #[test]
    fn redirections_are_followed_and_loops_are_not() {
        let url = responder(&[
            "HTTP/1.1 307 There\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        ]);
        assert_eq!(post(&url).unwrap().status, 201);
        let again = "HTTP/1.1 308 Again\r\nLocation: /whep/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        fails(&responder(&[again; 6]), "from one place to the next");
    }

    #[test]
    fn refusals_are_sentences() {
        let status = |line: &str, body: &str| {
            responder(&[&format!("HTTP/1.1 {line}\r\nContent-Length: {}\r\n\r\n{body}", body.len())])
        };
        fails(&status("401 No", ""), "wants a token");
        fails(&status("403 No", ""), "does not allow");
        fails(&status("404 No", "nothing here"), "nothing here");
        fails(&status("406 No", r#"{"detail":"no codec fits","fix":"offer VP8"}"#), "no codec fits; offer VP8");
        fails(&status("404 No", r#"{"status":"error","error":"nobody publishes"}"#), "URL: nobody publishes");
        fails(&status("415 No", ""), "takes no SDP");
        fails(&status("500 No", ""), "refused");
    }

    #[test]
    fn answer_that_is_no_http_is_an_error() {
        fails(&responder(&["SSH-2.0-OpenSSH_9.9\r\n"]), "speaks no HTTP");
        fails(&responder(&[""]), "without an answer");
        fails(&responder(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nv=0"]), "ends after 3 of 9");
        fails(&responder(&["HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"]), "longer than");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fails(&format!("http://{closed}/"), "nobody listens");
    }

    fn fails(url: &str, word: &str) {
        let error = format!("{:#}", post(url).unwrap_err());
        assert!(error.contains(word), "{error}");
    }

    fn post(url: &str) -> anyhow::Result<Reply> {
        let url = Url::parse(url)?;
        let request = Request { method: "POST", url, token: None, body: "v=0".to_owned() };
        Client::new(crate::tls::config(&Trust::Anybody, false)?).send(&request)
    }

    /// Answers one connection after another, and closes each.
    fn responder(answers: &[&str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/whep/x", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                // The whole request, so that closing does not reset the connection.
                let mut request = Vec::new();
                while !request.ends_with(b"v=0") {
                    let mut bytes = [0; 1_024];
                    match stream.read(&mut bytes) {
                        Ok(0) | Err(_) => break,
                        Ok(len) => request.extend(&bytes[..len]),
                    }
                }
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        url
    }
}
