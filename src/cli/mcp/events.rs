//! A stream of server-sent events, taken apart as its bytes come.

use std::mem::take;

/// The data of events, of a stream of which a part was read.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// A line feed that follows ends no second line.
    is_after_return: bool,
}

/// An event is longer than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// The data of each event that `bytes` complete. Everything else that events carry is left out, and so are events
    /// without data.
    ///
    /// # Errors
    /// Where an event has more than `bytes_max`; nothing of the stream is of use then.
    pub(super) fn feed(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Vec<String>, TooLong> {
        let mut complete = Vec::new();
        for &byte in bytes {
            let is_second = take(&mut self.is_after_return) && byte == b'\n';
            match byte {
                b'\n' if is_second => {}
                b'\n' | b'\r' => {
                    self.is_after_return = byte == b'\r';
                    complete.extend(self.end_line());
                }
                _ if bytes_max <= self.line.len() + self.data.len() => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(complete)
    }

    /// Takes in a line that has ended; answers the event's data where it ended that.
    fn end_line(&mut self) -> Option<String> {
        let line = take(&mut self.line);
        if line.is_empty() {
            let data = take(&mut self.data);
            let is_event = take(&mut self.has_data) && !data.is_empty();
            return is_event.then(|| String::from_utf8_lossy(&data).into_owned());
        }
        let value = if line == b"data" { &[][..] } else { line.strip_prefix(b"data:")? };
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        self.has_data = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::{collection, proptest};

    use super::{Events, TooLong};

    fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut events = Events::default();
        parts.into_iter().flat_map(|part| events.feed(part, 1_000).unwrap()).collect()
    }

    #[test]
    fn the_data_of_events_is_found() {
        for (stream, wanted) in [
            ("data: a\n\ndata:b\r\n\r\ndata:  c\r\r", vec!["a", "b", " c"]),
            (": alive\n\nevent: message\nid: 1\ndata: {\ndata: }\n\n", vec!["{\n}"]),
            ("retry: 3000\ndata:\n\ndata\n\ndatum: x\n\ndata: cut", vec![]),
            ("data\ndata: a\n\n", vec!["\na"]),
        ] {
            assert_eq!(read([stream.as_bytes()]), wanted, "{stream:?}");
        }
    }

    #[test]
    fn an_event_has_a_bound() {
        let mut events = Events::default();
        assert_eq!(events.feed(b"data: 1234\n\ndata: 1234\n", 10), Ok(vec!["1234".to_owned()]));
        assert_eq!(events.feed(b"data: 12\n\n", 10), Err(TooLong));
    }

    proptest! {
        #[test]
        fn it_matters_not_where_a_stream_is_cut(
            stream in "(data:|data|: x|\\{\\}|ü| |\n|\r|\r\n){0,30}",
            cuts in collection::vec(any::<proptest::sample::Index>(), 0..4),
        ) {
            let stream = stream.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let parts: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            assert_eq!(read(parts), read([stream]));
        }
    }
}
