//! What loadsim itself costs, for it shares the machine with what it measures.

/// Ticks of a second in `/proc`, the same on every Linux that there is.
const TICKS: f64 = 100.0;

/// Processor seconds that this process has used, in user mode and in the kernel; nothing where there is no `/proc`.
pub(crate) fn seconds() -> Option<f64> {
    ticks(&std::fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks / TICKS)
}

fn ticks(stat: &str) -> Option<f64> {
    // The name may hold anything, so fields count from the parenthesis that closes it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn user_and_kernel_time_are_added_whatever_the_name() {
        let stat = "7 (a ) b) R 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 4 0";
        assert_eq!(ticks(stat), Some(400.0));
        assert_eq!(ticks("7"), None);
    }
}
