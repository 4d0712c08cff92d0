//! Fuzz targets.

pub mod media;
pub mod rtp;
