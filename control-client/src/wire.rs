//! What all wire documents share: JSON, a version, and tolerance for fields that a newer program adds.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The `version` of every wire document, 1. A document of another version is refused when it is read; fields
/// that are not known are not a new version, and are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocumentVersion;

impl DocumentVersion {
    /// The number on the wire.
    pub const NUMBER: u32 = 1;
}

#[cfg(feature = "openapi")]
mod openapi {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    use utoipa::openapi::{RefOr, Schema};

    impl utoipa::PartialSchema for super::DocumentVersion {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(SchemaType::new(Type::Integer))
                .enum_values(Some([Self::NUMBER]))
                .description(Some("The version of the document: 1."))
                .into()
        }
    }

    impl utoipa::ToSchema for super::DocumentVersion {}
}

impl fmt::Display for DocumentVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::NUMBER.fmt(formatter)
    }
}

impl Serialize for DocumentVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for DocumentVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => Err(D::Error::custom(format!(
                "the document has version {other}, this program knows version {}: install the same release on both sides",
                Self::NUMBER
            ))),
        }
    }
}
