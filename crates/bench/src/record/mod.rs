//! Does one core serve five thousand viewers, and what does it cost?
//!
//! Measures every row of "One core, many viewers" in `docs/performance.md` with one command. Each
//! measurement starts its own servers (release builds of `nowcast`), which get their cores and one
//! shard; the generator has the other core. A measurement that fails prints its reason, and the
//! others continue.
//!
//! - [`stage`]: a server and the load on it, and what one look at them says
//! - [`row`]: a line of the table
//! - `fanout`, `long_group`, `limit`, `tick`, `streams`, `joins`, `loss`, `key_frames`, `shards`,
//!   `estimation`, `cut_off`: the measurements
//! - [`plots`]: its pictures; [`chart`]: how they are drawn
//! - [`machine`]: where all this was measured

mod chart;
mod cut_off;
mod estimation;
mod fanout;
mod joins;
mod key_frames;
mod limit;
mod long_group;
mod loss;
mod machine;
mod plots;
mod row;
mod shards;
mod stage;
mod streams;
mod tick;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use serde_json::{Map, Value, json};

use self::row::Row;
use self::stage::Stage;
use crate::report;
use crate::server::Server;

/// Options of the measurement.
#[derive(Args)]
pub(crate) struct Record {
    /// The server [default: target/release/nowcast]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Cores of the server, in the syntax of taskset; figures per core assume one core
    #[arg(long, default_value = "0", value_name = "CORES")]
    server_cores: String,
    /// Pin the generator to this core
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// Only these measurements: fanout, limit, tick, long-group, streams, joins, loss, key-frames,
    /// shards, estimation, cut-off
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// A tenth of the viewers and of the time: shows that everything works, not how fast
    #[arg(long)]
    quick: bool,
    /// Also write everything here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw plots (SVG) into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// A measurement by its name.
struct Measurement {
    name: &'static str,
    measure: fn(&Stage, &mut Known) -> anyhow::Result<Outcome>,
}

/// What a measurement found.
struct Outcome {
    rows: Vec<Row>,
    figures: Value,
}

/// What one measurement tells those that follow.
#[derive(Default)]
struct Known {
    /// Of the server with all viewers: microseconds of its core a packet, and packets a second.
    full: Option<(f64, f64)>,
    /// Microseconds of the server's CPU a packet with a hundred viewers.
    few_us: Option<f64>,
    /// The part of the server's CPU a packet that was spent in user space, in microseconds.
    user_us: Option<f64>,
}

/// The measurements in order: the kernel's limit directly after the rows that are compared with it.
const MEASUREMENTS: [Measurement; 11] = [
    Measurement { name: "fanout", measure: fanout::measure },
    Measurement { name: "limit", measure: limit::measure },
    Measurement { name: "tick", measure: tick::measure },
    Measurement { name: "long-group", measure: long_group::measure },
    Measurement { name: "streams", measure: streams::measure },
    Measurement { name: "joins", measure: joins::measure },
    Measurement { name: "loss", measure: loss::measure },
    Measurement { name: "key-frames", measure: key_frames::measure },
    Measurement { name: "shards", measure: shards::measure },
    Measurement { name: "estimation", measure: estimation::measure },
    Measurement { name: "cut-off", measure: cut_off::measure },
];

impl Record {
    /// Measures and prints.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let names = MEASUREMENTS.map(|m| m.name);
        for name in &self.only {
            ensure!(names.contains(&name.as_str()), "--only: there is no {name}; choose of {}", names.join(", "));
        }
        let binary = self.server.clone().unwrap_or_else(Server::default_binary);
        let stage = Stage::new(binary, &self.server_cores, self.core, self.quick)?;
        if self.quick {
            println!("quick: a tenth of the viewers and of the time; the goals are those of the full run");
        }
        let begun_at = Instant::now();
        let mut known = Known::default();
        let (mut rows, mut figures, mut failures) = (Vec::new(), Map::new(), Vec::new());
        for Measurement { name, measure } in &MEASUREMENTS {
            if !self.only.is_empty() && !self.only.iter().any(|only| only == name) {
                continue;
            }
            eprintln!("{:>4.0} s  {name}", begun_at.elapsed().as_secs_f64());
            match stage.enter().and_then(|()| measure(&stage, &mut known)) {
                Ok(outcome) => {
                    outcome.rows.iter().for_each(Row::print);
                    rows.extend(outcome.rows);
                    figures.insert((*name).to_owned(), outcome.figures);
                }
                Err(error) => {
                    println!("{name}\n    failed: {error:#}\n");
                    failures.push(format!("{name}: {error:#}"));
                }
            }
            // After each: what was measured is not lost when a later one is interrupted.
            let table: Vec<Value> = rows.iter().map(Row::json).collect();
            let all = json!({
                "machine": machine::describe(),
                "seconds": begun_at.elapsed().as_secs_f64(),
                "quick": self.quick,
                "rows": table,
                "figures": figures,
                "failures": failures,
            });
            report::write(self.json.as_deref(), &all)?;
        }
        if let Some(folder) = &self.plots {
            plots::draw(&Value::Object(figures), folder)?;
        }
        println!("{}", row::markdown(&rows));
        ensure!(failures.is_empty(), "{} measurements failed; the first: {}", failures.len(), failures[0]);
        Ok(())
    }
}
