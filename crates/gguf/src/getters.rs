//! Typed access to metadata, with errors that name key, type found and type wanted.

/// The getters, written once: a required and an optional one for each type.
macro_rules! typed_getters {
    () => {
        crate::getters::typed_getters! {
            str, opt_str, &str, "string", |v| v.as_str();
            u32, opt_u32, u32, "u32", |v| v.as_u64().and_then(|n| u32::try_from(n).ok());
            u64, opt_u64, u64, "u64", |v| v.as_u64();
            f32, opt_f32, f32, "f32", |v| v.as_f32();
            bool, opt_bool, bool, "bool", |v| v.as_bool();
            str_array, opt_str_array, &[String], "array of string", |v| v.as_str_array();
            i32_array, opt_i32_array, &[i32], "array of i32", |v| v.as_i32_array();
            f32_array, opt_f32_array, &[f32], "array of f32", |v| v.as_f32_array();
        }
    };
    ($($get:ident, $opt:ident, $type:ty, $expected:literal, $convert:expr;)*) => {
        $(
            #[doc = concat!("The value of `key` as ", $expected, ".")]
            ///
            /// # Errors
            /// If the key is absent, or holds something that is not of that type.
            pub fn $get(&self, key: &str) -> Result<$type, GgufError> {
                self.$opt(key)?.ok_or_else(|| {
                    let problem = Problem::MissingKey { key: key.into(), expected: $expected };
                    GgufError::new(self.origin.as_deref(), problem)
                })
            }

            #[doc = concat!("The value of `key` as ", $expected, ", or `None` where it is absent.")]
            ///
            /// # Errors
            /// If the key holds something that is not of that type.
            pub fn $opt(&self, key: &str) -> Result<Option<$type>, GgufError> {
                let Some(value) = self.metadata.get(key) else { return Ok(None) };
                let convert: fn(&Value) -> Option<$type> = $convert;
                convert(value).map(Some).ok_or_else(|| {
                    let (key, found) = (key.to_owned(), value.describe());
                    let problem = Problem::WrongType { key, found, expected: $expected };
                    GgufError::new(self.origin.as_deref(), problem)
                })
            }
        )*
    };
}

pub(crate) use typed_getters;
