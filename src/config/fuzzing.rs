//! Variables of any value: a configuration, or mistakes that do not tell secrets.

use std::path::Path;

use super::{Config, Environment, variables};

/// Stands at the end of every secret, and nowhere else.
const SECRET: &str = "Zq7-not-to-be-told";

/// Lines of variables, each of a byte that chooses one and its value.
pub(crate) fn variables(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if text.contains(SECRET) {
        return;
    }
    let known: Vec<_> = variables::all().collect();
    let mut environment = Environment::default();
    for line in text.lines() {
        let mut characters = line.chars();
        let Some(choice) = characters.next() else { continue };
        let variable = known[choice as usize % known.len()];
        let end = if variable.secret { SECRET } else { "" };
        environment.set(variable.name, &format!("{}{end}", characters.as_str()));
    }
    let told = match Config::load(&environment) {
        Ok(loaded) => format!("{:?}{:?}", loaded.warnings, loaded.effective),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused, and nothing is said");
            mistakes.join("\n")
        }
    };
    assert!(!told.contains(SECRET), "a secret is told: {told}");
}

/// A file `.env`.
pub(crate) fn dot_env(input: &[u8]) {
    let mut environment = Environment::default();
    environment.take(Path::new(".env"), dotenvy::from_read_iter(input));
    let secret = [b"DB_DSN=".as_slice(), input, format!(" {SECRET}").as_bytes()].concat();
    let mut told = Environment::default();
    told.take(Path::new(".env"), dotenvy::from_read_iter(secret.as_slice()));
    assert!(!told.problems().join("\n").contains(SECRET), "a secret is told");
    for name in environment.names() {
        assert!(!name.is_empty(), "a variable without a name");
    }
}
