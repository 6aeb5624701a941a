//! Reading metadata values.

use crate::cursor::{Cursor, Place};
use crate::error::Problem;
use crate::value::{Array, Value};

/// Arrays of arrays deeper than this are refused, so that recursion is bounded.
const MAX_NESTING: usize = 4;
/// A string is at least its length field.
const MIN_STRING_BYTES: u64 = 8;
/// An array is at least its element type and its length.
const MIN_ARRAY_BYTES: u64 = 4 + 8;

pub(crate) fn read_value(cursor: &mut Cursor<'_>, place: Place<'_>) -> Result<Value, Problem> {
    let found = cursor.u32(place)?;
    Ok(match found {
        0 => Value::U8(cursor.item(place, u8::from_le_bytes)?),
        1 => Value::I8(cursor.item(place, i8::from_le_bytes)?),
        2 => Value::U16(cursor.item(place, u16::from_le_bytes)?),
        3 => Value::I16(cursor.item(place, i16::from_le_bytes)?),
        4 => Value::U32(cursor.item(place, u32::from_le_bytes)?),
        5 => Value::I32(cursor.item(place, i32::from_le_bytes)?),
        6 => Value::F32(cursor.item(place, f32::from_le_bytes)?),
        7 => Value::Bool(cursor.item(place, truth)?),
        8 => Value::String(cursor.string(place)?),
        9 => Value::Array(read_array(cursor, place, 1)?),
        10 => Value::U64(cursor.item(place, u64::from_le_bytes)?),
        11 => Value::I64(cursor.item(place, i64::from_le_bytes)?),
        12 => Value::F64(cursor.item(place, f64::from_le_bytes)?),
        _ => {
            return Err(Problem::ValueType {
                place: place.to_string(),
                found,
            });
        }
    })
}

fn read_array(cursor: &mut Cursor<'_>, place: Place<'_>, depth: usize) -> Result<Array, Problem> {
    if depth > MAX_NESTING {
        return Err(Problem::Nesting {
            place: place.to_string(),
            limit: MAX_NESTING,
        });
    }
    let found = cursor.u32(place)?;
    let len = cursor.u64(place)?;
    let n = cursor.check_count(len, min_element_bytes(found), place)?;
    Ok(match found {
        0 => Array::U8(cursor.items(n, place, u8::from_le_bytes)?),
        1 => Array::I8(cursor.items(n, place, i8::from_le_bytes)?),
        2 => Array::U16(cursor.items(n, place, u16::from_le_bytes)?),
        3 => Array::I16(cursor.items(n, place, i16::from_le_bytes)?),
        4 => Array::U32(cursor.items(n, place, u32::from_le_bytes)?),
        5 => Array::I32(cursor.items(n, place, i32::from_le_bytes)?),
        6 => Array::F32(cursor.items(n, place, f32::from_le_bytes)?),
        7 => Array::Bool(cursor.items(n, place, truth)?),
        8 => Array::String(
            (0..n)
                .map(|_| cursor.string(place))
                .collect::<Result<_, _>>()?,
        ),
        9 => {
            let inner = (0..n).map(|_| read_array(cursor, place, depth + 1));
            Array::Array(inner.collect::<Result<_, _>>()?)
        }
        10 => Array::U64(cursor.items(n, place, u64::from_le_bytes)?),
        11 => Array::I64(cursor.items(n, place, i64::from_le_bytes)?),
        12 => Array::F64(cursor.items(n, place, f64::from_le_bytes)?),
        _ => {
            return Err(Problem::ValueType {
                place: place.to_string(),
                found,
            });
        }
    })
}

fn min_element_bytes(value_type: u32) -> u64 {
    match value_type {
        2 | 3 => 2,
        4..=6 => 4,
        8 => MIN_STRING_BYTES,
        9 => MIN_ARRAY_BYTES,
        10..=12 => 8,
        _ => 1,
    }
}

/// Any non-zero byte is true, as in llama.cpp.
fn truth(byte: [u8; 1]) -> bool {
    byte != [0]
}
