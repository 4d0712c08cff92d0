//! Which resource of the table does a request's path name?
//!
//! The styles of other servers name the same resources: MediaMTX's `/{stream}/whip`, SRS's
//! `/rtc/v1/whip/?stream=…`. Slashes too many at either end of a path are left out: they come from
//! a base address that ends in one and a path that begins with one. A [`Place`] has the resource's
//! one canonical path ([`Place::path`]), whatever the style.
//!
//! A stream whose name ends in `/events` has no status of its own, and one that ends in a session's
//! id and `/layers` or `/sse` cannot be addressed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use media::{SessionId, StreamName};

use super::address::{self, NoRoute};
use super::pattern::{Found, Pattern};
use super::row::Row;

/// First segments that no stream's name begins with in MediaMTX's style, besides those of the
/// table: other servers have other protocols there, and a client of them is told that they are not
/// here.
const OTHER_PROTOCOLS: [&str; 3] = ["twirp", "hls", "dash"];

/// What a path names.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) row: Arc<Row>,
    /// `None` where the resource is of no stream, or where the token is to name it.
    pub(crate) stream: Option<StreamName>,
    pub(crate) session: Option<SessionId>,
    /// The number of a subscription.
    pub(crate) number: Option<u64>,
    /// A file of the pages, by its path in `web/dist`.
    pub(crate) file: Option<String>,
}

impl Place {
    /// Returns the path under which the router has the resource. A name with slashes is one segment
    /// of it.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.row.template.split('/').skip(1) {
            match segment {
                "{stream}" => {
                    if let Some(stream) = &self.stream {
                        push(&mut path, &stream.as_str().replace('/', "%2F"));
                    }
                }
                "{file}" => {
                    let file = self.file.as_deref().unwrap_or_default();
                    push(&mut path, &file.strip_prefix("assets/").unwrap_or(file).replace('/', "%2F"));
                }
                "{session}" => push(&mut path, &self.session.map(|id| id.to_string()).unwrap_or_default()),
                variable if variable.starts_with('{') => {
                    push(&mut path, &self.number.unwrap_or_default().to_string());
                }
                literal => push(&mut path, literal),
            }
        }
        path
    }
}

fn push(path: &mut String, segment: &str) {
    path.push('/');
    path.push_str(segment);
}

/// All resources by the paths that name them.
#[derive(Debug)]
pub(crate) struct Index {
    rows: Vec<Arc<Row>>,
    nothing: Arc<Row>,
    /// Resources by whole paths, without slashes at their ends.
    fixed: HashMap<String, Arc<Row>>,
    /// The most specific first.
    patterns: Vec<(Pattern, Arc<Row>)>,
    /// First segments that begin no stream's name in MediaMTX's style.
    reserved: HashSet<String>,
}

impl Index {
    /// Creates an index. Each row comes with the paths besides its template that name it.
    pub(super) fn new(resources: Vec<(Row, Vec<&'static str>)>) -> Self {
        let mut index = Self {
            rows: Vec::new(),
            nothing: Arc::new(Row::nothing()),
            fixed: HashMap::new(),
            patterns: Vec::new(),
            reserved: OTHER_PROTOCOLS.map(str::to_owned).into(),
        };
        for (row, also) in resources {
            let row = Arc::new(row);
            for template in [row.template.as_str()].into_iter().chain(also) {
                index.add(template, &row);
            }
            index.rows.push(row);
        }
        // A pattern without a head fits every path, a longer tail fewer of them.
        index.patterns.sort_by_key(|(pattern, _)| (pattern.head.is_empty(), usize::MAX - pattern.tail.len()));
        index
    }

    fn add(&mut self, template: &str, row: &Arc<Row>) {
        let path = template.trim_matches('/');
        if let Some((first, _)) = path.split_once('/')
            && !first.starts_with('{')
        {
            self.reserved.insert(first.to_owned());
        }
        match Pattern::of(template) {
            Some(pattern) => self.patterns.push((pattern, Arc::clone(row))),
            None => drop(self.fixed.insert(path.to_owned(), Arc::clone(row))),
        }
    }

    /// Returns the rows of all resources and, last, the one of addresses that name nothing.
    pub(crate) fn templates(&self) -> Vec<String> {
        self.rows.iter().chain([&self.nothing]).map(|row| row.template.clone()).collect()
    }

    /// Returns the row of addresses that name nothing.
    pub(crate) fn nothing(&self) -> &Arc<Row> {
        &self.nothing
    }

    /// Finds the resource that a path and a query name.
    pub(crate) fn find(&self, path: &str, query: Option<&str>) -> Result<Place, NoRoute> {
        if !path.starts_with('/') {
            return Err(NoRoute::NotFound);
        }
        let path = path.trim_matches('/');
        if let Some(row) = self.fixed.get(path) {
            return at_whole_path(row, path, query);
        }
        let (first, _) = path.split_once('/').ok_or(NoRoute::NotFound)?;
        let is_reserved = self.reserved.contains(first);
        for (pattern, row) in &self.patterns {
            if is_reserved && pattern.head.is_empty() {
                continue;
            }
            let Some(found) = pattern.find(path) else { continue };
            match place(row, found, path) {
                // In front of a long tail an illegal name is illegal as a whole, too.
                Err(_) if pattern.tail.len() > 1 => {}
                place => return place,
            }
        }
        Err(NoRoute::NotFound)
    }
}

fn at_whole_path(row: &Arc<Row>, path: &str, query: Option<&str>) -> Result<Place, NoRoute> {
    let stream = match row.is_of_stream() {
        true => address::queried_stream(query).map_err(|rule| illegal_name(row, rule))?,
        false => None,
    };
    let file = row.is_file().then(|| path.to_owned());
    Ok(Place { row: Arc::clone(row), stream, session: None, number: None, file })
}

fn place(row: &Arc<Row>, found: Found<'_>, path: &str) -> Result<Place, NoRoute> {
    let Found { first, session, number } = found;
    let row = Arc::clone(row);
    if row.is_file() {
        return Ok(Place { row, stream: None, session, number, file: Some(path.to_owned()) });
    }
    let stream = address::stream(first).map_err(|rule| illegal_name(&row, rule))?;
    Ok(Place { row, stream: Some(stream), session, number, file: None })
}

fn illegal_name(row: &Row, rule: String) -> NoRoute {
    NoRoute::IllegalName { rule, template: row.template.clone() }
}
