//! Runs fuzz targets on stable Rust, without coverage: seeds first, then mutations of them until
//! the time is up.
//!
//! `cargo run --release -p fuzz -- [--target PART] [--seconds N] [--seed 0x5eed] [--replay FILE]
//! [--list]`
//!
//! The same seed tries the same inputs in the same order. An input that breaks a target is written
//! to `fuzz/artifacts/`, with the line that replays it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuzz::Target;
use fuzz::memory::resident_bytes;
use fuzz::mutate::{Random, mutated};

/// An input that takes longer is a failure too: parsers are linear, sessions bounded.
const TOO_LONG: Duration = Duration::from_secs(20);

/// All targets together stay below 300 MB; an input that makes the process larger than this fails.
const TOO_MUCH: u64 = 2 << 30;

struct Options {
    target: Option<String>,
    seconds: f64,
    seed: u64,
    replay: Option<PathBuf>,
    list: bool,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("{complaint}");
            return ExitCode::from(2);
        }
    };
    let wanted = |target: &Target| options.target.as_deref().is_none_or(|part| target.name.contains(part));
    let targets: Vec<_> = fuzz::targets().into_iter().filter(wanted).collect();
    if targets.is_empty() {
        eprintln!("no such target; --list names them");
        return ExitCode::from(2);
    }
    if options.list {
        targets.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    }
    if let Some(file) = &options.replay {
        let input = std::fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        targets.iter().for_each(|target| (target.run)(&input));
        println!("survived");
        return ExitCode::SUCCESS;
    }
    println!("seed {:#x}, {} s a target", options.seed, options.seconds);
    let watch = Watch::start();
    let broken = targets.iter().filter(|target| !search(target, &options, &watch)).count();
    println!("fuzz: {} passed, {broken} failed", targets.len() - broken);
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns whether the target held.
fn search(target: &Target, options: &Options, watch: &Watch) -> bool {
    let seeds = target.seeds();
    let mut random = Random(options.seed ^ fnv1a(target.name.as_bytes()));
    let began_at = Instant::now();
    let until = began_at + Duration::from_secs_f64(options.seconds);
    let mut executions: u64 = 0;
    // Seeds take at most half of the time; new inputs get the rest.
    let seeds_until = began_at + Duration::from_secs_f64(options.seconds / 2.0);
    for seed in seeds.iter().take_while(|_| Instant::now() < seeds_until) {
        executions += 1;
        if !holds(target, seed, watch) {
            return false;
        }
    }
    while Instant::now() < until {
        executions += 1;
        if !holds(target, &mutated(&mut random, &seeds, target.words), watch) {
            return false;
        }
    }
    let rate = executions as f64 / began_at.elapsed().as_secs_f64();
    println!("{:<26} {executions:>9} executions {rate:>10.0}/s  {} seeds", target.name, seeds.len());
    true
}

fn holds(target: &Target, input: &[u8], watch: &Watch) -> bool {
    watch.begins(target.name, input);
    let held = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok();
    watch.ends();
    if !held {
        keep(target.name, input, "broke");
    }
    held
}

/// Writes an input that did harm, and says how to do it again.
fn keep(target: &str, input: &[u8], what: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    let file = folder.join(format!("{target}-{:016x}", fnv1a(input)));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
    println!("{target} {what}; again: cargo run --release -p fuzz -- --target {target} --replay {}", file.display());
    if let Err(error) = written {
        println!("… but it could not be written: {error}");
    }
}

/// Ends the process if one input takes [`TOO_LONG`] or [`TOO_MUCH`].
struct Watch(Arc<Mutex<Option<Running>>>);

struct Running {
    target: &'static str,
    input: Vec<u8>,
    began_at: Instant,
}

impl Watch {
    fn start() -> Watch {
        let running: Arc<Mutex<Option<Running>>> = Arc::default();
        let seen = Arc::clone(&running);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let running = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(running) = running.as_ref() else { continue };
                let (is_stuck, is_huge) = (running.began_at.elapsed() > TOO_LONG, resident_bytes() > TOO_MUCH);
                if is_stuck || is_huge {
                    keep(
                        running.target,
                        &running.input,
                        if is_huge { "took too much memory" } else { "took too long" },
                    );
                    println!("fuzz: 0 passed, 1 failed");
                    std::process::exit(1);
                }
            }
        });
        Watch(running)
    }

    fn begins(&self, target: &'static str, input: &[u8]) {
        let running = Running { target, input: input.to_vec(), began_at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { target: None, seconds: 2.0, seed: 0x5eed, replay: None, list: false };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--target" => options.target = Some(value()?),
            "--seconds" => options.seconds = value()?.parse().map_err(|_| "--seconds: not a number")?,
            "--seed" => {
                let text = value()?;
                let parsed = match text.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => text.parse(),
                };
                options.seed = parsed.map_err(|_| "--seed: not a number")?;
            }
            "--replay" => options.replay = Some(value()?.into()),
            "--list" => options.list = true,
            _ => return Err(format!("unknown option {name}; see the head of fuzz/src/main.rs")),
        }
    }
    Ok(options)
}

/// FNV-1a, 64 bits: tells inputs apart.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
