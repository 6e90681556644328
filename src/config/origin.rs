//! Where values come from: the environment, then `.env`, then the default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::nearest;

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
        found.take_environment(std::env::vars_os());
        found
    }

    /// Takes variables as the system has them. What is no text is a problem where it has a name of ours, and nothing of it is
    /// told: it may be a secret.
    fn take_environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => self.put(name, value, Origin::Environment),
                Err(_) if nearest::is_known(&name) => {
                    self.problems.push(format!("{name}: its value in the environment is not text in UTF-8"));
                }
                Err(_) => {}
            }
        }
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_value_that_is_no_text_stops_the_start_and_is_not_told() {
        let bytes = || OsString::from_vec(b"hunter2\xff".to_vec());
        let names = ["HTTP_PORT", "API_KEY", "DB_DSN_FILE", "AUTH_EXTERNAL_TENANT_HEADER", "LESSOPEN"];
        let mut found = Environment::default();
        found.take_environment(names.map(|name| (name.into(), bytes())));
        found.take_environment([(bytes(), "x".into()), ("GRPC_PORT".into(), "1".into())]);
        assert_eq!(found.problems().len(), 4, "{:?}", found.problems());
        for (name, problem) in names.iter().zip(found.problems()) {
            assert!(problem.starts_with(&format!("{name}: ")) && problem.contains("UTF-8"), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert_eq!(found.get("GRPC_PORT"), Some(("1", Origin::Environment)));
        let mistakes = crate::config::Config::load(&found).err().unwrap_or_default();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    }
}
