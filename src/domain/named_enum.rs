//! Enums whose values have names in the database, in files or in the protocol.

/// Declares an enum with `ALL`, `as_str` and `from_name`, so that a value and its name are written in one place.
macro_rules! named_enum {
    (
        $(#[$attribute:meta])*
        pub enum $enum:ident { $($(#[$value_attribute:meta])* $value:ident = $name:literal,)+ }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $enum { $($(#[$value_attribute])* $value,)+ }

        impl $enum {
            /// Every value, in the order of declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $name,)+ }
            }

            /// Returns `None` for a name that this version does not know.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.as_str() == name)
            }
        }
    };
}

pub(super) use named_enum;
