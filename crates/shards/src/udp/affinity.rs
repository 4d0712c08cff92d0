//! On which core does this thread run, and with which priority?

use std::io;

/// Keeps the calling thread on one core, so that its caches and its packets meet there.
///
/// Fails when there is no such core or this process may not use it.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    pin_current_thread_to(&[core])
}

/// Keeps the calling thread, and those it starts from now on, on these cores.
///
/// Fails when none of them is there for this process, or a number is none of a core.
pub fn pin_current_thread_to(cores: &[usize]) -> io::Result<()> {
    if cores.iter().any(|core| *core >= libc::CPU_SETSIZE as usize) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a `cpu_set_t` is a bit field, all zeroes is the empty set, and every core is within
    // it. The kernel reads as many bytes as we say it has; thread 0 is the calling one.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cores.iter().for_each(|core| libc::CPU_SET(*core, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets other threads go first where they compete for a core: `nice` as in nice(2), 0 to 19. For
/// the calling thread alone.
///
/// Needs no privilege, because it only ever steps back.
pub fn step_back(nice: i32) -> io::Result<()> {
    // SAFETY: three numbers; 0 is the calling thread (on Linux the value is the thread's, not the
    // process's).
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_steps_back_leaves_the_others_where_they_are() {
        // SAFETY: two numbers, returns a third.
        let niceness = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = niceness();
        let stepped = std::thread::spawn(move || {
            step_back((before + 3).min(19)).unwrap();
            niceness()
        });
        assert_eq!(stepped.join().unwrap(), (before + 3).min(19));
        assert_eq!(niceness(), before);
    }

    #[test]
    fn a_pinned_thread_is_where_it_was_put() {
        let pinned = std::thread::spawn(|| {
            // SAFETY: no arguments, returns the number of the core we are on.
            let here = unsafe { libc::sched_getcpu() };
            pin_current_thread(here as usize).unwrap();
            // SAFETY: as above.
            (here, unsafe { libc::sched_getcpu() })
        });
        let (before, after) = pinned.join().unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        for core in [1_023, 1_024, usize::MAX] {
            assert!(pin_current_thread(core).is_err(), "core {core}");
        }
    }
}
