//! What a run is asked to bring over, and what follows from it. It knows no message.

/// What a run is asked to bring over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A house is moved: what the source lists is all there is, and what was copied once counts for ever.
    House,
    /// Messages were named: what the source lists is not all there is, it goes to just the folder named, whatever is there
    /// already, and what is no longer there is copied again when it is asked for again.
    Named,
    /// Messages are put back: what the source lists is not all there is, it goes where a house would go, what is there already
    /// is not doubled, and what is no longer there comes back.
    Back,
}

impl Asked {
    /// Whether messages that are not listed are gone from the source.
    pub(super) fn lists_all(self) -> bool {
        self == Self::House
    }

    /// Whether mail of others at the destination counts as copied where it is the same.
    pub(super) fn adopts(self) -> bool {
        self != Self::Named
    }
}
