//! Tests of the source tree itself: references, wording, lengths, and circles between files.
//!
//! The library reads files and measures them; the tests in `tests/` state the limits. Nothing
//! here is part of the server.
//!
//! - [`tree`] lists the files and knows which crate each belongs to.
//! - [`scan`] separates a file into comments and code.
//! - [`wording`] counts flagged words in comments and in names of functions.
//! - [`references`] finds citations in comments and documents, and says which lead nowhere.
//! - [`markdown`] finds headings, links and prose of a document.
//! - [`functions`] measures functions of Rust and TypeScript.
//! - [`uses`] reads `use` declarations, and [`circles`] finds files that use each other.
//! - [`allowed`] keeps the tables of faults that are tolerated until they are repaired.
//!
//! Not here: anything that needs a compiler. Doc links between Rust items are rustdoc's to check.

pub mod allowed;
pub mod circles;
pub mod functions;
pub mod markdown;
pub mod references;
pub mod scan;
pub mod tree;
pub mod uses;
pub mod wording;
