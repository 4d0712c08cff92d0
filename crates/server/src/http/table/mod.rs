//! Which resources are there, and which handler answers a method of one?
//!
//! [`Table`] is made from [`Resource`]s, each of which is declared once, in
//! [`crate::http::resources`]. From the declarations follow the router ([`axum::Router`], by the
//! resources' canonical paths), the paths that lead to each resource ([`Index`]), `Allow`,
//! `OPTIONS`, CORS and the limits of bodies ([`Row`]), the labels of metrics, and the API's
//! description.

pub(super) mod address;
pub(super) mod cors;
mod index;
pub(super) mod openapi;
mod pattern;
mod row;

pub(super) use index::{Index, Place};
pub(super) use row::{Input, MediaType, Row, accept_header};

use axum::Router;
use axum::handler::Handler;
use axum::routing::MethodRouter;
use hyper::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use row::Served;

/// All resources. `S` is the state that their handlers share.
pub(super) struct Table<S> {
    pub(super) index: Index,
    pub(super) router: Router<S>,
    pub(super) description: OpenApi,
}

/// A resource as it is declared.
pub(super) struct Resource<S> {
    row: Row,
    also: Vec<&'static str>,
    described: Vec<UtoipaMethodRouter<S>>,
    others: Vec<MethodRouter<S>>,
}

impl<S: Clone + Send + Sync + 'static> Table<S> {
    /// Makes the table. `refuse` answers methods that a resource does not have.
    pub(super) fn new<T: 'static>(resources: Vec<Resource<S>>, refuse: impl Handler<T, S>) -> Self {
        let mut router = OpenApiRouter::with_openapi(openapi::frame());
        let mut rows = Vec::new();
        for Resource { row, also, described, others } in resources {
            // Where the name of the stream may be missing, the template's head is a path too.
            let nameless = row.template.strip_suffix("/{stream}").filter(|head| also.contains(head));
            for (schemas, paths, methods) in described {
                if let Some(path) = nameless {
                    router = router.route(path, methods.clone());
                }
                router = router.routes((schemas, paths, methods));
            }
            for methods in others {
                if let Some(path) = nameless {
                    router = router.route(path, methods.clone());
                }
                router = router.route(&row.template, methods);
            }
            rows.push((row, also));
        }
        let (router, description) = router.split_for_parts();
        Self { index: Index::new(rows), router: router.method_not_allowed_fallback(refuse), description }
    }
}

impl<S: Clone + Send + Sync + 'static> Resource<S> {
    /// Declares a resource that pages of any allowed origin may use, by its first described
    /// handlers.
    pub(super) fn shared(first: UtoipaMethodRouter<S>) -> Self {
        Self::described(first, true)
    }

    /// Declares a resource that only pages of this server may use, by its first described handlers.
    pub(super) fn private(first: UtoipaMethodRouter<S>) -> Self {
        Self::described(first, false)
    }

    /// Declares a resource that only pages of this server may read, and that the API's description
    /// leaves out.
    pub(super) fn page(template: &str, reader: MethodRouter<S>) -> Self {
        Self::at(template, false).undescribed(Method::GET, reader)
    }

    fn described(first: UtoipaMethodRouter<S>, is_shared: bool) -> Self {
        let template = first.1.paths.keys().next().cloned().unwrap_or_default();
        Self::at(&template, is_shared).and(first)
    }

    fn at(template: &str, is_shared: bool) -> Self {
        let template = template.to_owned();
        let row = Row { template, is_shared, for_named_origins: None, methods: Vec::new(), inputs: Vec::new() };
        Self { row, also: Vec::new(), described: Vec::new(), others: Vec::new() }
    }

    /// Adds handlers that are described at the same path. `Allow` lists methods in the order in
    /// which they are added.
    pub(super) fn and(mut self, more: UtoipaMethodRouter<S>) -> Self {
        for (path, item) in &more.1.paths {
            assert_eq!(*path, self.row.template, "a resource has one path");
            self.row.methods.extend(methods(item).into_iter().map(|method| Served { method, is_listed: true }));
        }
        self.described.push(more);
        self
    }

    /// Adds the handler of a method that the API's description leaves out.
    pub(super) fn undescribed(mut self, method: Method, handler: MethodRouter<S>) -> Self {
        self.row.methods.push(Served { method, is_listed: true });
        self.others.push(handler);
        self
    }

    /// Adds the handler of a method that neither the description nor `Allow` lists. Preflights are
    /// told of it.
    pub(super) fn unlisted(mut self, method: Method, handler: MethodRouter<S>) -> Self {
        self.row.methods.push(Served { method, is_listed: false });
        self.others.push(handler);
        self
    }

    /// Says which bodies a method takes.
    pub(super) fn takes(mut self, method: Method, input: Input) -> Self {
        self.row.inputs.push((method, input));
        self
    }

    /// Adds paths that name the same resource. Where such a path has no place for the name of the
    /// stream, the query or the token names it.
    pub(super) fn also(mut self, templates: &[&'static str]) -> Self {
        self.also.extend(templates);
        self
    }

    /// Keeps a method for origins that are named one by one.
    pub(super) fn for_named_origins(mut self, method: Method) -> Self {
        self.row.for_named_origins = Some(method);
        self
    }
}

/// Returns the methods that a description has, those that change something first.
fn methods(item: &PathItem) -> Vec<Method> {
    let known = [
        (&item.post, Method::POST),
        (&item.put, Method::PUT),
        (&item.patch, Method::PATCH),
        (&item.delete, Method::DELETE),
        (&item.get, Method::GET),
    ];
    known.into_iter().filter(|(operation, _)| operation.is_some()).map(|(_, method)| method).collect()
}
