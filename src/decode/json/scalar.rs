//! Single JSON values as protobuf fields.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::lexer::Lexer;
use super::number;
use crate::decode::error::Error;
use crate::decode::schema::{Field, Kind, Presence};
use crate::model::id::hex_value;
use crate::model::packed::write::put_varint;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Packs the next value as `field`, with its tag; nothing when it equals the default and that means absent.
pub(super) fn pack(lexer: &mut Lexer<'_>, field: &Field, out: &mut Vec<u8>) -> Result<(), Error> {
    let is_needed = field.presence == Presence::Explicit;
    if let Kind::Id = field.kind {
        let start = out.len();
        put_hexadecimal(lexer, out)?;
        if is_needed || start < out.len() {
            close(out, start, field.number);
        }
        return Ok(());
    }
    let (wire_type, value) = match read(lexer, field)? {
        Scalar::Varint(value) => (0, value),
        Scalar::Fixed64(value) => (1, value),
        Scalar::Fixed32(value) => (5, u64::from(value)),
        Scalar::Bytes(bytes) => {
            if is_needed || !bytes.is_empty() {
                let start = out.len();
                out.extend_from_slice(&bytes);
                close(out, start, field.number);
            }
            return Ok(());
        }
    };
    if is_needed || value != 0 {
        put_varint(u64::from(field.number << 3 | wire_type), out);
        put_number(wire_type, value, out);
    }
    Ok(())
}

/// Packs the next value as an element of the packed list `field`, without tag.
pub(super) fn pack_element(lexer: &mut Lexer<'_>, field: &Field, out: &mut Vec<u8>) -> Result<(), Error> {
    match read(lexer, field)? {
        Scalar::Varint(value) => put_number(0, value, out),
        Scalar::Fixed64(value) => put_number(1, value, out),
        Scalar::Fixed32(value) => put_number(5, u64::from(value), out),
        Scalar::Bytes(bytes) => out.extend_from_slice(&bytes),
    }
    Ok(())
}

/// Makes what was packed since `start` the content of field `number`.
pub(super) fn close(out: &mut Vec<u8>, start: usize, number: u32) {
    // A tag of at most five bytes and a length of at most ten.
    let mut head = [0; 15];
    let mut unused = &mut head[..];
    put_varint(u64::from(number << 3 | 2), &mut unused);
    put_varint((out.len() - start) as u64, &mut unused);
    let unused = unused.len();
    let head = &head[..head.len() - unused];
    let end = out.len();
    out.extend_from_slice(head);
    out.copy_within(start..end, start + head.len());
    out[start..start + head.len()].copy_from_slice(head);
}

enum Scalar<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Cow<'a, [u8]>),
}

fn read<'a>(lexer: &mut Lexer<'a>, field: &Field) -> Result<Scalar<'a>, Error> {
    Ok(match field.kind {
        Kind::Text => Scalar::Bytes(lexer.string()?),
        Kind::Bytes => Scalar::Bytes(base64(lexer)?),
        Kind::Bool => Scalar::Varint(u64::from(lexer.boolean()?)),
        Kind::Int64 => Scalar::Varint(integer::<i64>(lexer)?.cast_unsigned()),
        Kind::Uint64 => Scalar::Varint(integer::<u64>(lexer)?),
        Kind::Uint32 => Scalar::Varint(u64::from(integer::<u32>(lexer)?)),
        Kind::Sint32 => {
            let value = integer::<i32>(lexer)?;
            Scalar::Varint(u64::from((value << 1 ^ value >> 31).cast_unsigned()))
        }
        Kind::Fixed64 => Scalar::Fixed64(integer::<u64>(lexer)?),
        Kind::SignedFixed64 => Scalar::Fixed64(integer::<i64>(lexer)?.cast_unsigned()),
        Kind::Fixed32 => Scalar::Fixed32(integer::<u32>(lexer)?),
        Kind::Double => Scalar::Fixed64(double(lexer)?.to_bits()),
        Kind::Enum(names) => Scalar::Varint(enumeration(lexer, names)?),
        // Messages are read by the caller, which knows how deep they may nest; ids go where they belong at once.
        Kind::Message(_) | Kind::Body | Kind::Id => {
            return Err(lexer.malformed("a single value is expected here"));
        }
    })
}

/// An integer, as a number or as text.
fn integer<T: TryFrom<i128>>(lexer: &mut Lexer<'_>) -> Result<T, Error> {
    let value = if lexer.peek()? == b'"' {
        number::integer(&lexer.string()?)
    } else {
        number::integer(lexer.number()?)
    };
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| lexer.malformed("a number that is not an integer of the field's range"))
}

fn double(lexer: &mut Lexer<'_>) -> Result<f64, Error> {
    let value = if lexer.peek()? == b'"' {
        number::quoted_double(&lexer.string()?)
    } else {
        number::double(lexer.number()?)
    };
    value.ok_or_else(|| lexer.malformed("a number that is not a double"))
}

/// An enum by number, also one that is not known, or by one of its `names`. Negative numbers are sign-extended.
fn enumeration(lexer: &mut Lexer<'_>, names: &[(&str, u64)]) -> Result<u64, Error> {
    if lexer.peek()? != b'"' {
        return Ok(i64::from(integer::<i32>(lexer)?).cast_unsigned());
    }
    let text = lexer.string()?;
    let named = names.iter().find(|(name, _)| name.as_bytes() == &*text).map(|(_, number)| *number);
    let numbered = || {
        let number = i32::try_from(number::integer(&text)?).ok()?;
        Some(i64::from(number).cast_unsigned())
    };
    named.or_else(numbered).ok_or_else(|| lexer.malformed("a name that is not one of the enum's"))
}

/// Appends the bytes of an id; some of them also where it is none.
fn put_hexadecimal(lexer: &mut Lexer<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let text = lexer.string()?;
    let (pairs, odd) = text.as_chunks::<2>();
    for [high, low] in pairs {
        let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low)) else { return Err(no_id(lexer)) };
        out.push(high << 4 | low);
    }
    if odd.is_empty() { Ok(()) } else { Err(no_id(lexer)) }
}

const fn no_id(lexer: &Lexer<'_>) -> Error {
    lexer.malformed("an id that is not pairs of hexadecimal digits")
}

fn base64(lexer: &mut Lexer<'_>) -> Result<Cow<'static, [u8]>, Error> {
    let text = lexer.string()?;
    let is_url_safe = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if is_url_safe { BASE64_URL_SAFE } else { BASE64 };
    engine.decode(&*text).map(Cow::Owned).map_err(|_| lexer.malformed("bytes that are not base64"))
}

fn put_number(wire_type: u32, value: u64, out: &mut Vec<u8>) {
    match wire_type {
        0 => put_varint(value, out),
        1 => out.extend_from_slice(&value.to_le_bytes()),
        _ => out.extend_from_slice(&value.to_le_bytes()[..4]),
    }
}
