//! Files of lines, plain or compressed: read from an offset on, or written whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::error::Error;
use super::files;

/// Longest line that is read; a longer one is bad, and only its length is kept.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Level of zstd: three are as fast as a disk and half the size of one.
const ZSTD_LEVEL: i32 = 3;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Where the next line begins, in uncompressed bytes.
    pub next: u64,
    /// Its bytes without the line break; none where there were more than [`LINE_BYTES_MAX`].
    pub text: Option<Vec<u8>>,
}

/// Reads lines, decompressed by what the file begins with, not by its name.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    offset: u64,
    number: u64,
}

impl Lines {
    /// Opens a file behind its first `lines` lines, which end at `offset`. Where it is compressed what lies before is
    /// decompressed once more.
    ///
    /// # Errors
    /// When it cannot be read or ends before `offset`.
    pub fn open(path: &Path, offset: u64, lines: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        Self::over(file, path, offset, lines)
    }

    /// As [`Lines::open`], of a file that is open.
    pub(super) fn over(
        mut file: impl Read + Send + 'static,
        path: &Path,
        offset: u64,
        lines: u64,
    ) -> Result<Self, Error> {
        let reading = || Error::io("read", path);
        let mut start = Vec::new();
        (&mut file).take(4).read_to_end(&mut start).map_err(reading())?;
        let file = io::Cursor::new(start.clone()).chain(file);
        let mut reader: Box<dyn BufRead + Send> = if start.starts_with(&ZSTD) {
            let decoder = zstd::stream::read::Decoder::new(file).map_err(reading())?;
            Box::new(BufReader::with_capacity(1 << 20, decoder))
        } else if start.starts_with(&GZIP) {
            Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(BufReader::new(file))))
        } else {
            Box::new(BufReader::with_capacity(1 << 20, file))
        };
        let passed = io::copy(&mut (&mut reader).take(offset), &mut io::sink()).map_err(reading())?;
        if passed < offset {
            return Err(reading()(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Self { reader, path: path.to_owned(), offset, number: lines })
    }

    /// The next line; none at the end. The last line needs no line break.
    ///
    /// # Errors
    /// When the file cannot be read or decompressed.
    pub fn next_line(&mut self) -> Result<Option<Line>, Error> {
        let mut text = Vec::new();
        let mut bytes = 0_u64;
        let mut has_ended = false;
        loop {
            let buffer = self.reader.fill_buf().map_err(Error::io("read", &self.path))?;
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            let kept = end.unwrap_or(taken);
            if text.len() <= LINE_BYTES_MAX {
                // One byte more than the limit tells that the line is too long.
                let room = LINE_BYTES_MAX + 1 - text.len();
                text.extend_from_slice(&buffer[..kept.min(room)]);
            }
            bytes += taken as u64;
            self.reader.consume(taken);
            if end.is_some() {
                has_ended = true;
                break;
            }
        }
        if bytes == 0 && !has_ended {
            return Ok(None);
        }
        self.offset += bytes;
        self.number += 1;
        let text = (text.len() <= LINE_BYTES_MAX).then_some(text);
        Ok(Some(Line { number: self.number, next: self.offset, text }))
    }
}

/// Where lines are written to.
pub struct Output {
    encoder: Encoder,
    /// The file under its temporary name, and the name it gets; none for the standard output.
    names: Option<(PathBuf, PathBuf)>,
}

enum Encoder {
    Plain(Box<dyn Write + Send>),
    Gzip(GzEncoder<Box<dyn Write + Send>>),
    Zstd(zstd::stream::write::Encoder<'static, Box<dyn Write + Send>>),
}

impl Output {
    /// Writes to `path`, compressed where its name ends with `.gz` or `.zst`; `-` is the standard output. Until
    /// [`Output::finish`] the file has `.partial` added to its name.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            let encoder = Encoder::Plain(Box::new(BufWriter::with_capacity(1 << 20, io::stdout())));
            return Ok(Self { encoder, names: None });
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(Error::io("create", &partial))?;
        let out: Box<dyn Write + Send> = Box::new(BufWriter::with_capacity(1 << 20, file));
        let encoder = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Encoder::Gzip(GzEncoder::new(out, Compression::default())),
            Some("zst") => {
                let encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL);
                Encoder::Zstd(encoder.map_err(Error::io("compress", &partial))?)
            }
            _ => Encoder::Plain(out),
        };
        Ok(Self { encoder, names: Some((partial, path.to_owned())) })
    }

    /// Ends the file, brings it to the device and gives it its name.
    ///
    /// # Errors
    /// When a byte of it cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        let ended = match self.encoder {
            Encoder::Plain(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        };
        let flushed = ended.and_then(|mut out| out.flush());
        let Some((partial, path)) = self.names else {
            return flushed.map_err(Error::io("write", Path::new("the output")));
        };
        flushed
            .and_then(|()| File::open(&partial)?.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(Error::io("write", &path))?;
        files::sync_directory(files::parent(&path))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.encoder {
            Encoder::Plain(out) => out.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Plain(out) => out.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}
