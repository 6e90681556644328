//! Lines of bounded length.

use std::io::{self, BufRead, Read};

/// Longest line that is read, in bytes without its end: four times what the server takes, whose refusal names the call.
/// The rest of a longer one is skipped.
pub(super) const LINE_BYTES_MAX: usize = 4 << 20;

/// One line of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// White space alone.
    Blank,
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong,
}

/// The next line without its end; none at the end of the input. Waits for it.
///
/// # Errors
/// Those of the input.
pub(super) fn next(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let most = LINE_BYTES_MAX as u64 + 1;
    if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if LINE_BYTES_MAX < line.len() {
        input.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(if line.trim_ascii().is_empty() { Line::Blank } else { Line::Whole(line) }))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{LINE_BYTES_MAX, Line, next};

    #[test]
    fn lines_are_cut_at_their_ends_and_long_ones_are_skipped() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        let text = format!("{{}}\r\n\n \r\n{longest}\n{longest}y\n{longest}yyy\nlast");
        let mut input = BufReader::with_capacity(7_000, text.as_bytes());
        let mut found = Vec::new();
        while let Some(line) = next(&mut input).unwrap() {
            found.push(line);
        }
        let whole = |text: &str| Line::Whole(text.into());
        let wanted = [
            whole("{}\r"),
            Line::Blank,
            Line::Blank,
            whole(&longest),
            Line::TooLong,
            Line::TooLong,
            whole("last"),
        ];
        // Without the lines themselves, which are long.
        assert!(found == wanted, "{} lines", found.len());
    }

    #[test]
    fn a_long_line_may_be_the_last() {
        let text = "x".repeat(LINE_BYTES_MAX + 1);
        let mut input = text.as_bytes();
        assert_eq!(next(&mut input).unwrap(), Some(Line::TooLong));
        assert_eq!(next(&mut input).unwrap(), None);
    }
}
