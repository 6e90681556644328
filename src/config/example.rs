//! The example of an environment, written from the code.

use std::fmt::Write as _;

use super::variables::SECTIONS;

/// The text of `.env.example`.
pub fn env_example() -> String {
    let mut out = String::from(
        "# Every variable of otelcontext with its default. Copy to .env and change what you need; a variable of the\n\
         # environment wins over .env. Secrets can also be read from a file named by the variable with _FILE added.\n",
    );
    for (topic, variables) in SECTIONS {
        let _ = write!(out, "\n# --- {topic} ---\n");
        for variable in *variables {
            out.push('\n');
            for line in wrapped(variable.effect, 110) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = writeln!(out, "# {}={}", variable.name, variable.default);
        }
    }
    out
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let fits = lines.last().is_some_and(|line| line.is_empty() || line.len() + 1 + word.len() <= width);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
