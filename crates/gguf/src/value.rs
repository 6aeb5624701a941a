//! Metadata values: thirteen types, and what a caller may read each of them as.

use std::fmt;

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the format's own type names")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array value, stored unboxed: a vocabulary has a hundred thousand entries.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the format's own type names")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// The value as an unsigned integer, from any integer type that holds a non-negative number.
    /// Writers disagree about widths (`context_length` is found as u32 and as u64).
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// The value as a 32-bit float; an f64 is rounded.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// The value as a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(v) = *self {
            Some(v)
        } else {
            None
        }
    }

    /// The value as text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(v) = self {
            Some(v)
        } else {
            None
        }
    }

    /// The value as an array of strings.
    pub fn as_str_array(&self) -> Option<&[String]> {
        if let Self::Array(Array::String(v)) = self {
            Some(v)
        } else {
            None
        }
    }

    /// The value as an array of i32.
    pub fn as_i32_array(&self) -> Option<&[i32]> {
        if let Self::Array(Array::I32(v)) = self {
            Some(v)
        } else {
            None
        }
    }

    /// The value as an array of f32.
    pub fn as_f32_array(&self) -> Option<&[f32]> {
        if let Self::Array(Array::F32(v)) = self {
            Some(v)
        } else {
            None
        }
    }

    /// The format's name of the value's type, such as `u32` or `array of string`.
    pub fn type_name(&self) -> String {
        let name = self.value_type().name();
        match self {
            Self::Array(array) => format!("{name} of {}", array.element_type().name()),
            _ => name.into(),
        }
    }

    /// Type, and the number itself where it may be why a conversion failed.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::I8(v) => format!("i8 ({v})"),
            Self::I16(v) => format!("i16 ({v})"),
            Self::I32(v) => format!("i32 ({v})"),
            Self::I64(v) => format!("i64 ({v})"),
            Self::U64(v) => format!("u64 ({v})"),
            _ => self.type_name(),
        }
    }
}

impl Array {
    /// True for an array without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `From` for what writers set most.
macro_rules! from {
    ($($type:ty, $value:ident => $make:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $make
            }
        })*
    };
}

from! {
    &str, v => Self::String(v.to_owned());
    String, v => Self::String(v);
    bool, v => Self::Bool(v);
    u32, v => Self::U32(v);
    f32, v => Self::F32(v);
    Vec<String>, v => Self::Array(Array::String(v));
    Vec<i32>, v => Self::Array(Array::I32(v));
}

impl fmt::Display for Value {
    /// Numbers and text as they are, arrays by type and length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::F32(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::String(v) => v.fmt(f),
            Self::Array(v) => write!(f, "[{} of {}]", v.len(), v.element_type().name()),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
        }
    }
}
