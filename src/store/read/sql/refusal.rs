//! Why a statement is not taken, and what would be.

use super::words::{DEPTH_MAX, TABLES_MAX, TEXT_BYTES_MAX, VIEWS};

/// What is wrong with a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has too many bytes.
    #[error("the statement has {bytes} bytes, more than {TEXT_BYTES_MAX}")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// It begins with something else than a question.
    #[error("only questions are taken: begin with SELECT, WITH or EXPLAIN QUERY PLAN")]
    NoQuestion,
    /// There is more after its end.
    #[error("one statement at a time is taken: leave out what follows `;`")]
    Several,
    /// A sign that is never taken.
    #[error(
        "`{}` is not taken: write names without quotes and text in single quotes; parameters, arrays and JSON operators \
         do not work here",
        sign.escape_default()
    )]
    Sign {
        /// The sign.
        sign: char,
    },
    /// A comment.
    #[error("comments are not taken")]
    Comment,
    /// Text without an end.
    #[error("a text in single quotes does not end, or holds NUL")]
    Unfinished,
    /// A table that is none of the views.
    #[error("`{name}` cannot be read: read {}", VIEWS.join(", "))]
    Relation {
        /// The name.
        name: String,
    },
    /// A function that is not on the list.
    #[error("the function `{name}` is not taken: there are {}", allowed.join(", "))]
    Function {
        /// The name.
        name: String,
        /// Those that are.
        allowed: Vec<&'static str>,
    },
    /// A name that nothing has.
    #[error("`{word}` is no column of the views, and no name that the statement gives with AS")]
    Word {
        /// The word.
        word: String,
    },
    /// A name that cannot be given.
    #[error("`{name}` cannot be given as a name: take another word")]
    Name {
        /// The name.
        name: String,
    },
    /// A type that is not on the list.
    #[error("`{name}` is no type that is taken: there are {}", allowed.join(", "))]
    Type {
        /// The name.
        name: String,
        /// Those that are.
        allowed: &'static [&'static str],
    },
    /// Something where it cannot stand.
    #[error("`{token}` cannot stand where it does; only what docs/OPERATIONS.md lists is taken")]
    Place {
        /// What.
        token: String,
    },
    /// It ends in the middle.
    #[error("the statement ends too early")]
    Early,
    /// Too many parentheses in each other.
    #[error("parentheses lie deeper in each other than {DEPTH_MAX}")]
    Deep,
    /// Too many tables.
    #[error("the statement reads more than {TABLES_MAX} tables")]
    Tables,
}
