//! Types of metadata values: numbers, names and sizes of `gguf_metadata_value_type` in llama.cpp's `gguf.h`, in one table.

use crate::value::{Array, Value};

macro_rules! value_types {
    ($($variant:ident = $id:literal, $name:literal, $least:literal;)*) => {
        /// How a metadata value, or each element of an array, is stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ValueType { $($variant,)* }

        impl ValueType {
            /// The type with this number in the file, if there is one.
            pub(crate) fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }

            /// The type's number in the file.
            pub(crate) fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }

            /// The format's name.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Bytes that a value takes at least: a string its length, an array its elements' type and its length.
            pub(crate) fn least_bytes(self) -> u64 {
                match self { $(Self::$variant => $least,)* }
            }
        }

        impl Value {
            /// The value's type.
            pub(crate) fn value_type(&self) -> ValueType {
                match self { $(Self::$variant(_) => ValueType::$variant,)* }
            }
        }

        impl Array {
            /// The elements' type.
            pub(crate) fn element_type(&self) -> ValueType {
                match self { $(Self::$variant(_) => ValueType::$variant,)* }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(all) => all.len(),)* }
            }
        }
    };
}

value_types! {
    U8 = 0, "u8", 1;
    I8 = 1, "i8", 1;
    U16 = 2, "u16", 2;
    I16 = 3, "i16", 2;
    U32 = 4, "u32", 4;
    I32 = 5, "i32", 4;
    F32 = 6, "f32", 4;
    Bool = 7, "bool", 1;
    String = 8, "string", 8;
    Array = 9, "array", 12;
    U64 = 10, "u64", 8;
    I64 = 11, "i64", 8;
    F64 = 12, "f64", 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_that_of_one_type() {
        for id in 0..13 {
            assert_eq!(ValueType::from_id(id).unwrap().id(), id);
        }
        assert_eq!(ValueType::from_id(13), None);
    }
}
