//! Where values come from: the environment, then `.env`, then the default.

use std::collections::BTreeMap;
use std::path::Path;

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The process environment.
    Environment,
    /// The `.env` file.
    DotEnv,
    /// A file named by the variable with `_FILE` added.
    SecretFile,
    /// Nobody set it.
    Default,
}

impl Origin {
    /// The word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::DotEnv => ".env",
            Self::SecretFile => "secret file",
            Self::Default => "default",
        }
    }
}

/// Variables as they were found; nothing is interpreted yet.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, (String, Origin)>,
    problems: Vec<String>,
}

impl Environment {
    /// The environment of this process, completed by the `.env` file in `folder` if there is one.
    pub fn of_process(folder: &Path) -> Self {
        let mut found = Self::default();
        let path = folder.join(".env");
        if path.exists() {
            match dotenvy::from_path_iter(&path) {
                Ok(pairs) => found.take(&path, pairs),
                Err(error) => found.problems.push(unreadable(&path, &error)),
            }
        }
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                found.put(name, value, Origin::Environment);
            }
        }
        found
    }

    /// Takes what the `.env` file at `path` holds.
    pub(super) fn take<R: std::io::Read>(&mut self, path: &Path, pairs: dotenvy::Iter<R>) {
        for pair in pairs {
            match pair {
                Ok((name, value)) => self.put(name, value, Origin::DotEnv),
                Err(error) => self.problems.push(unreadable(path, &error)),
            }
        }
    }

    /// An environment of exactly these variables, for embedding programs and tests.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut found = Self::default();
        for (name, value) in pairs {
            found.put(name.to_owned(), value.to_owned(), Origin::Environment);
        }
        found
    }

    /// Sets or replaces a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.put(name.to_owned(), value.to_owned(), Origin::Environment);
    }

    /// The value of a variable, and where it was set.
    pub fn get(&self, name: &str) -> Option<(&str, Origin)> {
        // An empty value means "not set", as shells and compose files make them by accident.
        self.values
            .get(name)
            .filter(|(value, _)| !value.is_empty())
            .map(|(value, origin)| (value.as_str(), *origin))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    fn put(&mut self, name: String, value: String, origin: Origin) {
        self.values.insert(name, (value, origin));
    }
}

/// Why the file at `path` cannot be read. Says which variable is meant, and nothing of its value: it may be a secret.
fn unreadable(path: &Path, error: &dotenvy::Error) -> String {
    let path = path.display();
    let dotenvy::Error::LineParse(line, _) = error else { return format!("{path}: {error}") };
    let name = line.split('=').next().unwrap_or_default().trim().trim_start_matches("export ");
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if line.contains('=') && is_name(name) {
        format!(
            "{path}: the value of {name} cannot be read; put it into 'single quotes', as for spaces, `$` and `#`"
        )
    } else {
        format!("{path}: a line is no NAME=value; values with spaces, `$` or `#` need 'single quotes'")
    }
}
