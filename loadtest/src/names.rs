//! The names of the peers of a run.
//!
//! # Invariants
//!
//! * A name tells the index of its peer, and two runs have no name in common.

use tidings::id::PeerId;

/// Bytes of a peer's name.
pub(crate) const NAME_BYTES: usize = 16;
/// Peers that can be named.
pub(crate) const PEERS_MAX: u32 = 10_000_000;

const NAME_DIGITS: usize = 7;

/// The names of the peers of one run: a tag of the run and the peer's index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    prefix: [u8; NAME_BYTES - NAME_DIGITS],
}

impl Names {
    /// Names that no other run uses.
    pub(crate) fn random() -> Self {
        Self::tagged(fastrand::u32(..0x100_0000))
    }

    /// Names with a tag below 2^24.
    pub(crate) fn tagged(tag: u32) -> Self {
        let mut prefix = [0; NAME_BYTES - NAME_DIGITS];
        let text = format!("lt{tag:06x}-");
        prefix.copy_from_slice(text.as_bytes());
        Self { prefix }
    }

    /// The name of the peer with this index, below [`PEERS_MAX`].
    pub(crate) fn name(&self, index: u32) -> [u8; NAME_BYTES] {
        let mut name = [b'0'; NAME_BYTES];
        name[..self.prefix.len()].copy_from_slice(&self.prefix);
        let mut rest = index;
        for digit in name[self.prefix.len()..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        name
    }

    /// The id of the peer with this index.
    pub(crate) fn peer(&self, index: u32) -> PeerId {
        let name = self.name(index);
        let name = std::str::from_utf8(&name).expect("a name is ASCII");
        PeerId::new(name).expect("a name is a valid id")
    }

    /// The index of the peer with this name, if it is of this run.
    pub(crate) fn index(&self, name: &[u8]) -> Option<u32> {
        index_in(name).filter(|_| name.starts_with(&self.prefix))
    }
}

/// The index in a peer's name.
pub(crate) fn index_in(name: &[u8]) -> Option<u32> {
    if name.len() != NAME_BYTES {
        return None;
    }
    name[NAME_BYTES - NAME_DIGITS..].iter().try_fold(0, |index, digit| {
        digit.is_ascii_digit().then(|| index * 10 + u32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_index_to_its_own_run_alone() {
        let (names, others) = (Names::tagged(1), Names::tagged(2));
        for index in [0, 7, 1_234_567, PEERS_MAX - 1] {
            let name = names.name(index);
            assert_eq!(names.index(&name), Some(index));
            assert_eq!(others.index(&name), None);
            assert_eq!(names.peer(index).as_str().as_bytes(), name);
        }
        assert_eq!(names.index(b"lt000001-00000x1"), None);
        assert_eq!(names.index(b"lt000001-1"), None);
    }
}
