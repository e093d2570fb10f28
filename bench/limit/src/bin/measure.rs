//! `measure COMMAND...`: runs a command and prints its resource usage as one line of JSON on
//! standard error's last line.
//!
//! A process inherits the peak memory of the one that started it until it has more itself; a big
//! Python parent would hide the peak of a small command. This parent has two MiB.

use std::process::{Command, ExitCode};
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: measure COMMAND...");
        return ExitCode::from(2);
    };
    let begin = Instant::now();
    // The standard library starts processes with posix_spawn where it can, as here.
    let child = match Command::new(&program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("measure: {}: {error}", program.display());
            return ExitCode::from(2);
        }
    };
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of this plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let id = child.id().cast_signed();
    // SAFETY: both pointers are to live, writable values; the child is waited for only here.
    while unsafe { libc::wait4(id, &raw mut status, 0, &raw mut usage) } != id {}
    let wall = begin.elapsed().as_secs_f64();
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    let code =
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) };
    eprintln!(
        "\n{{\"exit\": {code}, \"wall\": {wall:.6}, \"user\": {:.6}, \"sys\": {:.6}, \
         \"rss_peak\": {}}}",
        seconds(usage.ru_utime),
        seconds(usage.ru_stime),
        usage.ru_maxrss * 1024
    );
    ExitCode::SUCCESS
}
