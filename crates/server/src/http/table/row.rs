//! Which facts does a resource declare besides its handlers?
//!
//! A [`Row`] holds what a resource declares in the table. The answer to `OPTIONS`, `Allow`, CORS
//! headers, the limits of bodies and the labels of metrics follow from it.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use crate::http::body::{self, Reply};

/// The media type of a body, and the longest body of it that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MediaType {
    pub(crate) name: &'static str,
    pub(crate) most_bytes: usize,
}

/// The bodies that a method of a resource takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input {
    /// Bodies of these media types. `OPTIONS` lists them, and 415 names them.
    Types(&'static [MediaType]),
    /// Bodies of this length, whatever media type they name.
    Any { most_bytes: usize },
}

impl Input {
    /// Returns the longest body, for a media type that none of ours is.
    pub(crate) fn most_bytes(&self) -> usize {
        match self {
            Self::Types(types) => types.iter().map(|known| known.most_bytes).max().unwrap_or(0),
            Self::Any { most_bytes } => *most_bytes,
        }
    }

    /// Returns the media types as `Accept-Post` and `Accept-Patch` list them.
    pub(crate) fn accepted(&self) -> Option<String> {
        match self {
            Self::Types(types) => Some(types.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")),
            Self::Any { .. } => None,
        }
    }
}

/// A resource as the table declares it.
#[derive(Debug)]
pub(crate) struct Row {
    /// The path, with variables in place of what clients choose: the label in metrics and logs.
    pub(crate) template: String,
    /// Whether pages of other origins may use the resource.
    pub(crate) is_shared: bool,
    /// The method that is only for origins that `http.cors_origins` names one by one.
    pub(crate) for_named_origins: Option<Method>,
    /// In the order in which `Allow` lists them.
    pub(super) methods: Vec<Served>,
    pub(super) inputs: Vec<(Method, Input)>,
}

/// A method of a resource.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) method: Method,
    /// Whether `Allow` lists it; preflights are told in any case.
    pub(super) is_listed: bool,
}

impl Row {
    /// Returns the row of addresses that name nothing. Preflights are told every method, so that a
    /// page of another origin can send its request and read the fault of the address.
    pub(super) fn nothing() -> Self {
        let methods = [Method::POST, Method::GET, Method::PATCH, Method::DELETE];
        let methods = methods.map(|method| Served { method, is_listed: true }).into();
        Self { template: "other".into(), is_shared: true, for_named_origins: None, methods, inputs: Vec::new() }
    }

    /// Whether the resource is one of a stream.
    pub(super) fn is_of_stream(&self) -> bool {
        self.template.contains("{stream}")
    }

    /// Whether the resource is a file of the pages.
    pub(super) fn is_file(&self) -> bool {
        self.template.contains("{file}")
    }

    /// Returns the value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        list(self.methods.iter().filter(|served| served.is_listed))
    }

    /// Returns the methods that a preflight is told.
    pub(crate) fn preflight(&self) -> String {
        list(self.methods.iter())
    }

    /// Returns the bodies that a method takes.
    pub(crate) fn input(&self, method: &Method) -> Option<Input> {
        self.inputs.iter().find(|(known, _)| known == method).map(|(_, input)| *input)
    }

    /// Answers `OPTIONS`, which needs no token (RFC 9725 §4.7.1). RFC 9725 §4.2: 200 with
    /// `Accept-Post`.
    pub(crate) fn options(&self) -> Reply {
        let mut reply = body::empty(StatusCode::OK);
        insert(&mut reply, header::ALLOW, &self.allow());
        for (method, input) in &self.inputs {
            if let (Some(name), Some(accepted)) = (accept_header(method), input.accepted()) {
                insert(&mut reply, name, &accepted);
            }
        }
        reply
    }
}

/// Returns the header that lists the media types of a method: RFC 9725 §4.2, RFC 5789 §3.1.
pub(crate) fn accept_header(method: &Method) -> Option<HeaderName> {
    match *method {
        Method::POST => Some(HeaderName::from_static("accept-post")),
        Method::PATCH => Some(HeaderName::from_static("accept-patch")),
        _ => None,
    }
}

/// Names methods as `Allow` does. What can be read by `GET` can be by `HEAD` (RFC 9110 §9.3.2).
fn list<'a>(methods: impl Iterator<Item = &'a Served>) -> String {
    let mut names = Vec::new();
    for served in methods {
        names.push(served.method.as_str());
        if served.method == Method::GET {
            names.push("HEAD");
        }
    }
    names.push("OPTIONS");
    names.join(", ")
}

fn insert(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}
