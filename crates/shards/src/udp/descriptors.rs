//! How many sockets may this process have?

use std::io;

/// Raises the soft limit of open files to the hard one, which needs no privilege. Returns the limit
/// as it is then.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = limit()?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the kernel reads one `rlimit`, which lives across the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

fn limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit`, which lives across the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = limit().unwrap().rlim_max;
        assert_eq!(raise_open_files().unwrap(), hard);
        assert_eq!(limit().unwrap().rlim_cur, hard);
        assert_eq!(raise_open_files().unwrap(), hard, "and again");
    }
}
