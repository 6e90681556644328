//! The bytes of a request, from what a case says about it.

use std::io::Write;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::Value;

use super::case::{Door, Part, Raw, Send};
use super::protobuf;
use crate::dice::Dice;
use crate::send::Signal;

/// What stands for the placeholders in one execution.
#[derive(Debug, Clone)]
pub(super) struct Filling {
    pub(super) service: String,
    values: Vec<(&'static str, String)>,
}

impl Filling {
    /// Ids by `dice`; times from `now`, in Unix nanoseconds.
    pub(super) fn new(dice: &mut Dice, service: String, (now, host, signal): (u64, &str, Signal)) -> Self {
        let little: String = now.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let values = vec![
            ("${trace}", format!("{:016x}{:016x}", dice.word(), dice.word())),
            ("${span}", format!("{:016x}", dice.word() | 1)),
            ("${span2}", format!("{:016x}", dice.word() | 1)),
            ("${service}", service.clone()),
            ("${now}", now.to_string()),
            ("${now_hex}", little),
            ("${path}", signal.path().to_owned()),
            ("${host}", host.to_owned()),
        ];
        Self { service, values }
    }

    pub(super) fn fill(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// Where a request goes and how it is written.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) door: Door,
    pub(super) signal: Signal,
    pub(super) messages: &'a Value,
    pub(super) filling: &'a Filling,
}

impl Way<'_> {
    /// The body as it is sent: cut, flipped and compressed as the case wants.
    pub(super) fn body(&self, send: &Send) -> Result<Bytes> {
        let mut body = match (&send.message, &send.body) {
            (Some(name), None) => self.message(name)?,
            (None, Some(parts)) => self.parts(parts)?,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => bail!("a case has a message or a body, not both"),
        };
        damage(&mut body, send.cut, send.flip);
        for coding in &send.compression {
            body = compress(coding, &body)?;
        }
        damage(&mut body, send.cut_compressed, send.flip_compressed);
        Ok(body.into())
    }

    /// The frames of a gRPC call.
    pub(super) fn frames(&self, send: &Send) -> Result<Bytes> {
        let body = self.body(send)?;
        let odd = &send.grpc;
        if odd.no_frame {
            return Ok(body);
        }
        let flag = odd.flag.unwrap_or(u8::from(!send.compression.is_empty()));
        let length = odd.declared_length.map_or_else(|| u32::try_from(body.len()), Ok)?;
        let frame = [&[flag][..], &length.to_be_bytes(), &body].concat();
        Ok(frame.repeat(odd.frames.unwrap_or(1)).into())
    }

    /// A whole HTTP/1.1 request.
    pub(super) fn raw(&self, raw: &Raw) -> Result<Bytes> {
        match raw {
            Raw::Text(text) => Ok(self.filling.fill(text).into()),
            Raw::Parts(parts) => Ok(self.parts(parts)?.into()),
        }
    }

    /// Names and values of the headers; `None` where a default is taken away.
    pub(super) fn headers(&self, send: &Send) -> Vec<(String, Option<String>)> {
        let fill = |value: &Option<String>| value.as_deref().map(|value| self.filling.fill(value));
        send.headers.iter().map(|(name, value)| (name.to_lowercase(), fill(value))).collect()
    }

    fn parts(&self, parts: &[Part]) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        for part in parts {
            let bytes = match part {
                Part { message: Some(name), .. } => self.message(name)?,
                Part { hex: Some(hex), .. } => protobuf::hex(&self.filling.fill(hex))?,
                Part { text: Some(text), .. } => self.filling.fill(text).into_bytes(),
                Part { json: Some(json), .. } => self.filling.fill(&json.to_string()).into_bytes(),
                _ => bail!("a part of a body has a message, hex, text or json"),
            };
            body.extend(bytes.repeat(part.times.unwrap_or(1)));
        }
        Ok(body)
    }

    fn message(&self, name: &str) -> Result<Vec<u8>> {
        let message = &self.messages[name][self.signal.name()];
        let text = self.filling.fill(&message.to_string());
        if message.is_null() {
            bail!("there is no message {name} of {}", self.signal.name());
        }
        match self.door {
            Door::Json => Ok(text.into_bytes()),
            Door::Grpc | Door::Protobuf => {
                let message = serde_json::from_str(&text)?;
                protobuf::encode(self.signal.request(), &message).with_context(|| format!("message {name}"))
            }
        }
    }
}

/// Keeps the first bytes, or leaves out the last, and flips a bit.
fn damage(body: &mut Vec<u8>, cut: Option<i64>, flip: Option<i64>) {
    let place = |place: i64, length: usize| {
        let place = if place < 0 { length as i64 + place } else { place };
        usize::try_from(place).unwrap_or(0)
    };
    if let Some(cut) = cut {
        body.truncate(place(cut, body.len()));
    }
    if let Some(byte) = flip.and_then(|flip| {
        let at = place(flip, body.len());
        body.get_mut(at)
    }) {
        *byte ^= 1;
    }
}

fn compress(coding: &str, body: &[u8]) -> Result<Vec<u8>> {
    Ok(match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(body)?;
            encoder.finish()?
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(body)?;
            encoder.finish()?
        }
        "zstd" => zstd::encode_all(body, 3)?,
        other => bail!("there is no compression {other}"),
    })
}
