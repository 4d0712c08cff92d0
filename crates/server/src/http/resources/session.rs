//! Which requests does a session take, be it a publisher's or a viewer's?
//!
//! RFC 9725 (WHIP) and draft-ietf-wish-whep-03 (WHEP) differ in the peer that offers media;
//! sessions, their entity tags, trickle ICE and their end are the same. A [`Protocol`] says what
//! differs. A handler of a resource below a session takes a [`Session`] as its argument: it runs
//! only if there is such a session and the sender may use it.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, header};
use media::{SessionId, StreamName};

use super::if_match::IfMatch;
use crate::auth::Grants;
use crate::config::IceServer;
use crate::engine::{Opened, Refusal, Role, Trickled};
use crate::http::answer::value;
use crate::http::app::App;
use crate::http::body::{self, Reply};
use crate::http::exchange::{Exchange, Upload};
use crate::http::limits::{FRAGMENT_BYTES, SDP_BYTES};
use crate::http::ownership;
use crate::http::problem::{Answer, Problem};
use crate::http::sdpfrag;
use crate::http::table::MediaType;

/// Offers and answers.
pub(super) const SDP: MediaType = MediaType { name: "application/sdp", most_bytes: SDP_BYTES };
/// ICE fragments (RFC 8840 §9).
pub(super) const FRAGMENT: MediaType =
    MediaType { name: "application/trickle-ice-sdpfrag", most_bytes: FRAGMENT_BYTES };

/// A protocol whose sessions are resources.
pub(super) trait Protocol: Send + Sync + 'static {
    /// The first segment of its addresses.
    const NAME: &'static str;
    /// The role of its sessions.
    const ROLE: Role;
    /// What opening a session is called in a refusal.
    const OPENING: &'static str;
    /// What to do about a token that does not allow it.
    const OPENING_FIX: &'static str;
    /// What a session is called in a refusal.
    const SESSION: &'static str;

    /// Whether a sender may open a session of this stream and use it.
    fn may_use(grants: &Grants, stream: &StreamName) -> bool;

    /// Whether a sender may end a session that it may not use.
    fn may_end(_grants: &Grants, _stream: &StreamName) -> bool {
        false
    }

    /// Returns the `Link` headers of what else a session can do. `base` is the session's own path.
    ///
    /// Names of events are separated by blanks, and no parameter has a comma: OBS and others split
    /// the header at every comma, also inside of quotes.
    fn links(base: &str) -> [String; 2];
}

/// A session that is there and that the sender may use.
pub(super) struct Session<P> {
    pub(super) exchange: Exchange,
    pub(super) stream: StreamName,
    pub(super) id: SessionId,
    protocol: PhantomData<P>,
}

impl<P: Protocol> FromRequestParts<Arc<App>> for Session<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let session = Self::named(Exchange::from_request_parts(parts, app).await?)?;
        session.grant(app, &parts.headers, P::may_use).await?;
        session.check(app).await?;
        Ok(session)
    }
}

impl<P: Protocol> Session<P> {
    /// Reads the address, and finds out nothing more.
    fn named(exchange: Exchange) -> Result<Self, Problem> {
        let (stream, id) = (exchange.place.stream.clone(), exchange.place.session);
        let (stream, id) = stream.zip(id).ok_or_else(Problem::unwritable)?;
        Ok(Self { exchange, stream, id, protocol: PhantomData })
    }

    /// Refuses a sender whose token does not allow to use the session.
    async fn grant(
        &self,
        app: &App,
        headers: &HeaderMap,
        may: impl FnOnce(&Grants, &StreamName) -> bool,
    ) -> Result<(), Problem> {
        let grants = app.session_grants(&self.stream, self.id, P::ROLE, headers, &self.exchange).await?;
        if may(&grants, &self.stream) {
            return Ok(());
        }
        Err(app.refuse(&grants, P::SESSION, "use the token that began it"))
    }

    /// Finds out that the session is there: 404 otherwise.
    async fn check(&self, app: &App) -> Result<(), Problem> {
        ownership::check(&app.engine, &self.stream, self.id, P::ROLE).await
    }

    /// Returns the session's path, as clients see it.
    pub(super) fn path(&self) -> String {
        path::<P>(&self.exchange, &self.stream, self.id)
    }
}

/// A path, not a URL: it stays on the origin that the client used, whatever proxies stand before
/// the server.
fn path<P: Protocol>(exchange: &Exchange, stream: &StreamName, session: SessionId) -> String {
    format!("{}/{}/{stream}/{session}", exchange.prefix.as_str(), P::NAME)
}

/// Admits the sender of an offer. Returns the stream, which the address names or else the token's
/// room, and the token's identity.
pub(super) fn admit<P: Protocol>(
    app: &App,
    exchange: &Exchange,
    stream: Option<StreamName>,
    headers: &HeaderMap,
) -> Result<(StreamName, Option<String>), Problem> {
    let grants = app.grants(headers, exchange)?;
    let stream = match (stream, grants.room()) {
        (Some(stream), _) => stream,
        (None, Some(room)) => StreamName::parse(room).map_err(|error| Problem::illegal_name(error.to_string()))?,
        (None, None) => {
            let fix = "POST to /whip/{stream} or /whep/{stream}, or let the token's video.room name it";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "no stream is named", fix));
        }
    };
    if !P::may_use(&grants, &stream) {
        return Err(app.refuse(&grants, P::OPENING, P::OPENING_FIX));
    }
    app.may_open(exchange)?;
    Ok((stream, grants.identity().map(str::to_owned)))
}

/// Answers 201: the session is there, this is its address, these are the servers that help to reach
/// us, and this is what else it can do.
pub(super) fn opened<P: Protocol>(app: &App, exchange: &Exchange, stream: &StreamName, opened: Opened) -> Answer {
    let base = path::<P>(exchange, stream, opened.session);
    let mut reply = body::fresh(StatusCode::CREATED, SDP.name, opened.sdp);
    let headers = reply.headers_mut();
    headers.insert(header::LOCATION, value(&base)?);
    headers.insert(header::ETAG, value(&quoted(&opened.etag))?);
    for link in app.ice_servers.iter().flat_map(links).chain(P::links(&base)) {
        headers.append(header::LINK, value(&link)?);
    }
    Ok(reply)
}

/// Returns the stream that a `POST` to a session's address is meant for: encoders that write
/// `app/stream` may have a stream key of 32 hexadecimal digits. A session that is there does not
/// know the method.
pub(super) async fn meant_stream<P: Protocol>(app: &App, exchange: &Exchange) -> Result<StreamName, Problem> {
    let session = Session::<P>::named(exchange.clone())?;
    let is_there = ownership::is_of(&app.engine, &session.stream, session.id, P::ROLE).await;
    match StreamName::parse(&format!("{}/{}", session.stream, session.id)) {
        Ok(stream) if !is_there => Ok(stream),
        _ => Err(Problem::method_not_allowed(&exchange.place.row.allow())),
    }
}

/// Answers `PATCH` (the answer to the server's offer, candidates, an ICE restart) and `DELETE` of a
/// session.
pub(super) async fn change<P: Protocol>(app: &App, exchange: Exchange, method: Method, upload: Upload) -> Answer {
    let session = Session::<P>::named(exchange)?;
    if method == Method::DELETE {
        let may = |grants: &Grants, stream: &StreamName| P::may_use(grants, stream) || P::may_end(grants, stream);
        session.grant(app, upload.headers(), may).await?;
        session.check(app).await?;
        // RFC 9725 §4.3.1: an entity tag sent with it is ignored.
        let is_closed = app.engine.close(session.id).await;
        return if is_closed { Ok(body::empty(StatusCode::OK)) } else { Err(Refusal::NoSuchSession.into()) };
    }
    session.grant(app, upload.headers(), P::may_use).await?;
    app.may_patch(&session.exchange)?;
    let media_type = upload.media_type()?;
    session.check(app).await?;
    if media_type == SDP {
        let answer = upload.text().await?;
        if answer.trim().is_empty() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty", "send the SDP answer"));
        }
        app.engine.accept_answer(session.id, answer).await?;
        return Ok(body::empty(StatusCode::NO_CONTENT));
    }
    patch_ice(app, session.id, upload).await
}

/// `PATCH` with an ICE fragment: candidates, or a restart.
async fn patch_ice(app: &App, session: SessionId, upload: Upload) -> Answer {
    let if_match = IfMatch::of(upload.headers())?;
    let fragment = sdpfrag::parse(&upload.text().await?).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, error.to_string(), "send a fragment as RFC 8840 §9 describes")
    })?;
    let mut trickled = app.engine.trickle(session, fragment.clone(), Some(if_match.first().to_owned())).await;
    // RFC 9110 §13.1.1: the condition holds when any of the listed tags matches.
    if let Err(Refusal::StaleEtag { current }) = &trickled
        && if_match.first() != current
        && if_match.names(current)
    {
        trickled = app.engine.trickle(session, fragment, Some(current.clone())).await;
    }
    match trickled? {
        // RFC 9725 §4.3.2: "MUST NOT include an ETag header in the response".
        Trickled::Accepted => Ok(body::empty(StatusCode::NO_CONTENT)),
        Trickled::Restarted { fragment, etag } => {
            let mut reply = Reply::new(fragment.into());
            reply.headers_mut().insert(header::CONTENT_TYPE, value(FRAGMENT.name)?);
            reply.headers_mut().insert(header::ETAG, value(&quoted(&etag))?);
            Ok(reply)
        }
    }
}

/// Answers `GET` of an endpoint. RFC 9725 §4.1: "MUST return a 2xx (Successful) response with no
/// content when a GET request is received"; draft-ietf-wish-whep-03 §4.1 says the same.
pub(super) async fn no_content() -> Reply {
    body::empty(StatusCode::NO_CONTENT)
}

/// Answers `GET` of a publisher's session: RFC 9725 §4.1, as of the endpoint.
pub(super) async fn present<P: Protocol>(_session: Session<P>) -> Reply {
    body::empty(StatusCode::NO_CONTENT)
}

/// RFC 9725 §4.6: one `Link` per URL.
fn links(server: &IceServer) -> Vec<String> {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let link = |url: &String| {
        let mut link = format!("<{url}>; rel=\"ice-server\"");
        if let (Some(username), Some(credential), true) =
            (&server.username, &server.credential, url.starts_with("turn"))
        {
            let (username, credential) = (escaped(username), escaped(credential.expose()));
            link.push_str(&format!(
                "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\""
            ));
        }
        link
    };
    server.urls.iter().map(link).collect()
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

#[cfg(test)]
mod tests;
