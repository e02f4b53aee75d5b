use std::fmt;

/// What a node does for the cluster (`--mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Takes writes and keeps a WAL.
    Ingest,
    /// Answers queries.
    Query,
    /// May hold the role of the compactor.
    Compact,
    /// Runs plugins.
    Process,
}

impl Mode {
    pub const EVERY: [Self; 4] = [Self::Ingest, Self::Query, Self::Compact, Self::Process];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Query => "query",
            Self::Compact => "compact",
            Self::Process => "process",
        }
    }

    /// The mode of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|mode| mode.name() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modes(u8);

impl Modes {
    /// What `--mode all` means without plugins, and what every node did before nodes had modes.
    pub const ALL: Self = Self(0b111);

    #[must_use]
    pub fn has(self, mode: Mode) -> bool {
        self.0 & mode.bit() != 0
    }

    #[must_use]
    pub fn with(self, mode: Mode) -> Self {
        Self(self.0 | mode.bit())
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Mode> {
        Mode::EVERY.into_iter().filter(move |mode| self.has(*mode))
    }
}

impl FromIterator<Mode> for Modes {
    fn from_iter<I: IntoIterator<Item = Mode>>(modes: I) -> Self {
        modes.into_iter().fold(Self(0), Self::with)
    }
}

/// The names, separated by commas.
impl fmt::Display for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mode) in self.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{mode}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_modes_tells_its_names_in_one_order() {
        let modes: Modes = ["query", "ingest", "query"].into_iter().filter_map(Mode::named).collect();
        assert_eq!(modes.to_string(), "ingest,query");
        assert!(modes.has(Mode::Ingest) && !modes.has(Mode::Compact));
        assert_eq!(Modes::ALL.to_string(), "ingest,query,compact");
        assert_eq!(Modes::ALL.with(Mode::Process).iter().count(), 4);
        assert_eq!(Mode::named("webui"), None);
    }
}
