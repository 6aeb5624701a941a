//! Reading metadata values.

use crate::cursor::{Cursor, Place};
use crate::error::Problem;
use crate::value::{Array, Value};
use crate::value_type::ValueType;

/// Arrays of arrays deeper than this are refused, so that recursion is bounded.
const MAX_NESTING: usize = 4;

pub(crate) fn read_value(cursor: &mut Cursor<'_>, place: Place<'_>) -> Result<Value, Problem> {
    Ok(match read_type(cursor, place)? {
        ValueType::U8 => Value::U8(cursor.item(place, u8::from_le_bytes)?),
        ValueType::I8 => Value::I8(cursor.item(place, i8::from_le_bytes)?),
        ValueType::U16 => Value::U16(cursor.item(place, u16::from_le_bytes)?),
        ValueType::I16 => Value::I16(cursor.item(place, i16::from_le_bytes)?),
        ValueType::U32 => Value::U32(cursor.item(place, u32::from_le_bytes)?),
        ValueType::I32 => Value::I32(cursor.item(place, i32::from_le_bytes)?),
        ValueType::F32 => Value::F32(cursor.item(place, f32::from_le_bytes)?),
        ValueType::Bool => Value::Bool(cursor.item(place, truth)?),
        ValueType::String => Value::String(cursor.string(place)?),
        ValueType::Array => Value::Array(read_array(cursor, place, 1)?),
        ValueType::U64 => Value::U64(cursor.item(place, u64::from_le_bytes)?),
        ValueType::I64 => Value::I64(cursor.item(place, i64::from_le_bytes)?),
        ValueType::F64 => Value::F64(cursor.item(place, f64::from_le_bytes)?),
    })
}

fn read_array(cursor: &mut Cursor<'_>, place: Place<'_>, depth: usize) -> Result<Array, Problem> {
    if depth > MAX_NESTING {
        return Err(Problem::Nesting {
            place: place.to_string(),
            limit: MAX_NESTING,
        });
    }
    let of = read_type(cursor, place)?;
    let len = cursor.u64(place)?;
    let n = cursor.check_count(len, of.least_bytes(), place)?;
    Ok(match of {
        ValueType::U8 => Array::U8(cursor.items(n, place, u8::from_le_bytes)?),
        ValueType::I8 => Array::I8(cursor.items(n, place, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(cursor.items(n, place, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(cursor.items(n, place, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(cursor.items(n, place, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(cursor.items(n, place, i32::from_le_bytes)?),
        ValueType::F32 => Array::F32(cursor.items(n, place, f32::from_le_bytes)?),
        ValueType::Bool => Array::Bool(cursor.items(n, place, truth)?),
        ValueType::String => Array::String(
            (0..n)
                .map(|_| cursor.string(place))
                .collect::<Result<_, _>>()?,
        ),
        ValueType::Array => {
            let inner = (0..n).map(|_| read_array(cursor, place, depth + 1));
            Array::Array(inner.collect::<Result<_, _>>()?)
        }
        ValueType::U64 => Array::U64(cursor.items(n, place, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(cursor.items(n, place, i64::from_le_bytes)?),
        ValueType::F64 => Array::F64(cursor.items(n, place, f64::from_le_bytes)?),
    })
}

fn read_type(cursor: &mut Cursor<'_>, place: Place<'_>) -> Result<ValueType, Problem> {
    let found = cursor.u32(place)?;
    ValueType::from_id(found).ok_or_else(|| Problem::ValueType {
        place: place.to_string(),
        found,
    })
}

/// Any non-zero byte is true, as in llama.cpp.
fn truth(byte: [u8; 1]) -> bool {
    byte != [0]
}
