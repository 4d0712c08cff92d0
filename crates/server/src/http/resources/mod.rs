//! The table: which resources are there?
//!
//! Each resource is declared once, in [`table`], and lives in a file of its own. `docs/http.md`
//! says how to add one.

mod if_match;
mod layers;
mod operation;
mod pages;
mod server;
mod session;
mod session_events;
mod stream_events;
mod streams;
mod wanted;
mod whep;
mod whip;

use std::sync::{Arc, LazyLock};

use axum::routing::{get, post};
use hyper::Method;
use media::StreamName;
use utoipa_axum::routes;

use super::app::App;
use super::exchange::refuse_method;
use super::table::address::NoRoute;
use super::table::{Index, Input, Resource, Table};
use session::{FRAGMENT, SDP};

pub(super) use pages::of_illegal_name;

/// The bodies of offers.
const OFFER: Input = Input::Types(&[SDP]);

/// Returns the table of all resources.
pub(super) fn table() -> Table<Arc<App>> {
    let mut resources = pages();
    resources.extend(whip());
    resources.extend(whep());
    resources.extend(api());
    Table::new(resources, refuse_method)
}

/// What people see.
fn pages() -> Vec<Resource<Arc<App>>> {
    vec![
        Resource::page("/", get(pages::home)),
        Resource::page(pages::PUBLISH.template, get(pages::publish)),
        Resource::page(pages::WATCH.template, get(pages::watch)),
        Resource::page("/assets/{file}", get(pages::asset).fallback(pages::refuse_asset)).also(&[
            "/favicon.ico",
            "/favicon.svg",
            "/robots.txt",
        ]),
    ]
}

/// Where publishers begin, and what belongs to their sessions.
fn whip() -> Vec<Resource<Arc<App>>> {
    vec![
        Resource::shared(routes!(whip::publish))
            .undescribed(Method::GET, get(session::no_content))
            .takes(Method::POST, OFFER)
            .also(&["/whip", "/rtc/v1/whip", "/{stream}/whip"]),
        Resource::shared(routes!(whip::session))
            .unlisted(Method::POST, post(whip::publish_at_session))
            .undescribed(Method::GET, get(session::present::<whip::Whip>))
            .takes(Method::POST, OFFER)
            .takes(Method::PATCH, Input::Types(&[FRAGMENT])),
        Resource::shared(routes!(wanted::wanted)),
        Resource::shared(routes!(session_events::subscribe_publisher)).takes(Method::POST, session_events::LIST),
        Resource::shared(routes!(session_events::read_publisher)).and(routes!(session_events::end_publisher)),
    ]
}

/// Where viewers begin, and what belongs to their sessions.
fn whep() -> Vec<Resource<Arc<App>>> {
    vec![
        Resource::shared(routes!(whep::watch))
            .undescribed(Method::GET, get(session::no_content))
            .takes(Method::POST, OFFER)
            .also(&["/whep", "/rtc/v1/whep", "/rtc/v1/whip-play", "/{stream}/whep"]),
        Resource::shared(routes!(whep::session))
            .unlisted(Method::POST, post(whep::watch_at_session))
            .and(routes!(whep::report))
            .takes(Method::POST, OFFER)
            .takes(Method::PATCH, Input::Types(&[FRAGMENT, SDP])),
        Resource::shared(routes!(layers::layers)).and(routes!(layers::choose)).takes(Method::POST, layers::WISH),
        Resource::shared(routes!(session_events::subscribe_viewer)).takes(Method::POST, session_events::LIST),
        Resource::shared(routes!(session_events::read_viewer)).and(routes!(session_events::end_viewer)),
    ]
}

/// What programs and operators ask.
fn api() -> Vec<Resource<Arc<App>>> {
    vec![
        Resource::shared(routes!(streams::streams)),
        Resource::shared(routes!(streams::stream)).and(routes!(streams::kick)).for_named_origins(Method::DELETE),
        Resource::shared(routes!(stream_events::events)),
        Resource::shared(routes!(server::time)),
        Resource::shared(routes!(server::openapi)),
        Resource::private(routes!(operation::metrics)),
        Resource::private(routes!(operation::healthz)),
        Resource::private(routes!(operation::readyz)),
    ]
}

/// Returns the template of the resource that a path and a query name, and the stream that it is of.
pub(super) fn name(path: &str, query: Option<&str>) -> Result<(String, Option<StreamName>), NoRoute> {
    static INDEX: LazyLock<Index> = LazyLock::new(|| table().index);
    let place = INDEX.find(path, query)?;
    Ok((place.row.template.clone(), place.stream))
}
