//! Finds the position of a field in YAML.
//!
//! serde_yaml values have no positions, but its errors do. The locator therefore descends to the
//! field with serde and raises an error there.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Returns the line and column, starting at 1, of the key at `path`, if the key exists.
pub fn locate(yaml: &str, path: &[String]) -> Option<(usize, usize)> {
    let locator = Locator { path };
    let error = locator.deserialize(serde_yaml::Deserializer::from_str(yaml)).err()?;
    error.location().map(|at| (at.line(), at.column()))
}

/// Descends from a value to the key at `path`.
struct Locator<'p> {
    path: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Locator<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locator<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((name, rest)) = self.path.split_first() else { return Ok(()) };
        let key = Key { name, last: rest.is_empty() };
        while let Some(matches) = map.next_key_seed(key)? {
            if matches {
                map.next_value_seed(Locator { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Compares a key with `name`. If it is the last name of the path, raises an error to get its
/// position.
#[derive(Clone, Copy)]
struct Key<'p> {
    name: &'p str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.name {
            true if self.last => Err(E::custom("here")),
            matches => Ok(matches),
        }
    }
    fn visit_i64<E: Error>(self, key: i64) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
    fn visit_u64<E: Error>(self, key: u64) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
    fn visit_f64<E: Error>(self, key: f64) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
    fn visit_bool<E: Error>(self, key: bool) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(yaml: &str, path: &str) -> Option<(usize, usize)> {
        locate(yaml, &path.split('.').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn keys_are_found_at_every_depth() {
        let yaml = "# comment\ntrain:\n  seed: 1\n\n  epochs: 3\nmodel: {lstm: {units: 5}}\n";
        assert_eq!(at(yaml, "train"), Some((2, 1)));
        assert_eq!(at(yaml, "train.epochs"), Some((5, 3)));
        assert_eq!(at(yaml, "model.lstm.units"), Some((6, 16)));
    }

    #[test]
    fn missing_keys_have_no_position() {
        assert_eq!(at("train: {seed: 1}\n", "train.epochs"), None);
        assert_eq!(at("- a\n- b\n", "train"), None);
    }
}
