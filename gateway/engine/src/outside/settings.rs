//! By which commands maps are run on this machine, and within which limits.

use std::{path::PathBuf, time::Duration};

/// In a command: the file with the map.
pub const FILE: &str = "{file}";
/// In a command, a word of its own: the words for each parameter.
pub const PARAMS: &str = "{params}";
/// In the words for a parameter: its name.
pub const NAME: &str = "{name}";
/// In the words for a parameter: its value.
pub const VALUE: &str = "{value}";

/// The longest document that a map makes unless somebody says otherwise, in bytes.
pub(crate) const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// How processes of maps are started, and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder in which the texts of maps are put for their processes; of this machine's gateway alone.
    pub folder: PathBuf,
    /// The command for XSLT.
    pub xslt: Command,
    /// The command for jq.
    pub jq: Command,
    /// How long one document may take.
    pub timeout: Duration,
    /// How much memory, in bytes of address space.
    pub memory: u64,
    /// How much is made for a port, in bytes.
    pub max_output: usize,
    /// How many of them work at once.
    pub processes: usize,
    /// How many of them wait for a document at most.
    pub spares: usize,
}

/// A command: a program and its arguments. It reads the document from its standard input and writes what it makes of it to its
/// standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The words, with [`FILE`] and [`PARAMS`].
    pub words: Vec<String>,
    /// The words for one parameter, with [`NAME`] and [`VALUE`].
    pub param: Vec<String>,
}

impl Command {
    /// `words` without parameters.
    #[must_use]
    pub fn plain(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            param: Vec::new(),
        }
    }

    /// The `xsltproc` of the machine: no network, and nothing is written but to its standard output.
    #[must_use]
    pub fn xsltproc() -> Self {
        let words = ["xsltproc", "--nonet", "--nowrite", PARAMS, FILE, "-"];
        let param = ["--stringparam", NAME, VALUE];
        Self {
            param: param.map(str::to_owned).to_vec(),
            ..Self::plain(&words)
        }
    }

    /// The words for a file and its parameters. `None`: it takes no parameters, and there are some.
    pub(crate) fn with(&self, file: &str, params: &[(String, String)]) -> Option<Vec<String>> {
        if !params.is_empty() && !self.words.iter().any(|word| word == PARAMS) {
            return None;
        }
        let mut words = Vec::with_capacity(self.words.len());
        for word in &self.words {
            if word != PARAMS {
                words.push(word.replace(FILE, file));
                continue;
            }
            for (name, value) in params {
                // The value last: what looks like a place in it is none.
                let of = |word: &String| word.replace(NAME, name).replace(VALUE, value);
                words.extend(self.param.iter().map(of));
            }
        }
        Some(words)
    }
}

impl Settings {
    /// What holds where nothing says otherwise; jq is run by this very program, whose verb for that is named by `jq`.
    #[must_use]
    pub fn in_folder(folder: PathBuf, jq: Command) -> Self {
        Self {
            folder,
            xslt: Command::xsltproc(),
            jq,
            timeout: Duration::from_secs(5),
            memory: 256 * 1024 * 1024,
            max_output: MAX_OUTPUT,
            processes: 8,
            spares: 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_where_the_command_says() {
        let command = Command::xsltproc();
        let words = |params: &[(&str, &str)]| {
            let params: Vec<_> = params
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            command
                .with("/m/a.xsl", &params)
                .map(|words| words.join(" "))
        };
        assert_eq!(
            words(&[]).as_deref(),
            Some("xsltproc --nonet --nowrite /m/a.xsl -")
        );
        let given = words(&[("a", "{name} {file}"), ("b", "2")]);
        let expected =
            "xsltproc --nonet --nowrite --stringparam a {name} {file} --stringparam b 2 /m/a.xsl -";
        assert_eq!(given.as_deref(), Some(expected));
        let plain = Command::plain(&["saxon", FILE]);
        let params = [("a".to_owned(), "1".to_owned())];
        assert_eq!(plain.with("/m/a.xsl", &params), None);
    }
}
