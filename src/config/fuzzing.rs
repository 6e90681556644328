//! Variables of any value: a configuration, or mistakes that do not tell secrets.

use std::path::Path;

use super::{Config, Environment, variables};

/// Bytes of a secret that is looked for where it must not be: a shorter one stands in other words by chance.
const SECRET_BYTES_MIN: usize = 12;

/// Lines of variables, each of a byte that chooses one and its value.
pub(crate) fn variables(input: &[u8]) {
    let known: Vec<_> = variables::all().collect();
    let mut environment = Environment::default();
    let mut secrets = Vec::new();
    for line in String::from_utf8_lossy(input).lines() {
        let mut characters = line.chars();
        let Some(choice) = characters.next() else { continue };
        let variable = known[choice as usize % known.len()];
        let value = characters.as_str();
        environment.set(variable.name, value);
        if variable.secret && value.len() >= SECRET_BYTES_MIN {
            secrets.push(value.to_owned());
        }
    }
    let outcome = Config::load(&environment);
    let told = match &outcome {
        Ok(loaded) => format!("{:?}{:?}", loaded.warnings, loaded.effective),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused, and nothing is said");
            mistakes.join("\n")
        }
    };
    // A secret that is also the value of another variable is told as that.
    let is_told = |secret: &String| told.contains(secret) && !is_elsewhere(&environment, secret);
    assert!(!secrets.iter().any(is_told), "a secret is told: {told}");
}

fn is_elsewhere(environment: &Environment, secret: &str) -> bool {
    let plain = variables::all().filter(|variable| !variable.secret);
    plain.into_iter().any(|variable| {
        let set = environment.get(variable.name).map_or(variable.default, |(value, _)| value);
        // Values are told with their control characters escaped.
        set.contains(secret) || set.escape_debug().to_string().contains(secret)
    })
}

/// A file `.env`.
pub(crate) fn dot_env(input: &[u8]) {
    let mut environment = Environment::default();
    environment.take(Path::new(".env"), dotenvy::from_read_iter(input));
    for name in environment.names() {
        assert!(!name.is_empty(), "a variable without a name");
    }
}
