//! All randomness of the crate, from one place: so a simulation can be played again, step by step.

#[cfg(test)]
pub(crate) use self::seeded::seed;
pub(crate) use self::source::{HashState, bytes, number, uuid};

/// A table whose order differs in each process.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, HashState>;
/// A set whose order differs in each process.
pub(crate) type HashSet<T> = std::collections::HashSet<T, HashState>;

#[cfg(not(test))]
mod source {
    use rand::RngExt as _;
    use uuid::Uuid;

    /// The hasher of tables whose keys clients choose: it differs in each process.
    pub(crate) type HashState = foldhash::quality::RandomState;

    /// A name that nobody else has.
    pub(crate) fn uuid() -> Uuid {
        Uuid::new_v4()
    }

    /// A number below that, which is not 0.
    pub(crate) fn number(below: u64) -> u64 {
        rand::rng().random_range(0..below)
    }

    /// Bytes that nobody can guess.
    pub(crate) fn bytes<const N: usize>() -> [u8; N] {
        rand::rng().random()
    }
}

/// The same in tests: from the thread's own source, which can be seeded.
#[cfg(test)]
mod source {
    use rand::RngExt as _;
    use uuid::Uuid;

    use super::seeded::with;

    pub(crate) type HashState = foldhash::quality::FixedState;

    pub(crate) fn uuid() -> Uuid {
        uuid::Builder::from_random_bytes(bytes()).into_uuid()
    }

    pub(crate) fn number(below: u64) -> u64 {
        with(|source| source.random_range(0..below))
    }

    pub(crate) fn bytes<const N: usize>() -> [u8; N] {
        with(|source| source.random())
    }
}

#[cfg(test)]
mod seeded {
    use std::cell::RefCell;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    thread_local! {
        static SOURCE: RefCell<StdRng> = RefCell::new(rand::make_rng());
    }

    /// From now on this thread draws what this seed gives.
    pub(crate) fn seed(seed: u64) {
        SOURCE.set(StdRng::seed_from_u64(seed));
    }

    pub(super) fn with<T>(draw: impl FnOnce(&mut StdRng) -> T) -> T {
        SOURCE.with_borrow_mut(draw)
    }
}
