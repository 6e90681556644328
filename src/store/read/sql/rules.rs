//! Which statements are taken: a small grammar of questions over the views for people.
//!
//! A statement is read in whole by this grammar and written again from its tokens, with a space between any two.
//! Tables stand only where the grammar expects them, and there only the views and the names of WITH are taken; a
//! name of WITH counts from the end of its own question on, as in both databases. Everything that the grammar does
//! not know is refused, above all what writes, what sets, what names a schema, and functions that are not listed: those
//! that are neither wait, nor read files, nor make much out of little.

use std::collections::BTreeSet;

use super::refusal::Refusal;
use super::tokens::{Token, tokens};
use super::words::{
    COLUMNS, DEPTH_MAX, ENDS, OPERATORS, RESERVED, TABLES_MAX, TEXT_BYTES_MAX, TYPES, VIEWS, functions,
    is_joint,
};
use crate::store::sql::Dialect;

/// The statement as it is sent to the database. Errs with the first reason why it is not taken.
pub(super) fn checked(text: &str, dialect: Dialect) -> Result<String, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Refusal::TooLong { bytes: text.len() });
    }
    let tokens = tokens(text)?;
    let mut reading =
        Reading { tokens: &tokens, dialect, at: 0, depth: 0, tables: 0, named: Named::default() };
    let begin = reading.statement()?;
    reading.named.check()?;
    let parts: Vec<String> = tokens[begin..reading.at].iter().map(ToString::to_string).collect();
    let plan = match (begin, dialect) {
        (0, _) => "",
        (_, Dialect::Sqlite) => "EXPLAIN QUERY PLAN ",
        (_, Dialect::Postgres) => "EXPLAIN ",
    };
    Ok(format!("{plan}{}", parts.join(" ")))
}

/// A statement on its way through the grammar.
struct Reading<'t> {
    tokens: &'t [Token<'t>],
    dialect: Dialect,
    at: usize,
    depth: usize,
    tables: usize,
    named: Named,
}

/// Names that the statement gives and uses.
#[derive(Default)]
struct Named {
    /// Of whole questions: they can be read from.
    questions: BTreeSet<String>,
    /// Of anything, these included.
    given: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl Named {
    /// A name can be used before it is given, so this comes last.
    fn check(&self) -> Result<(), Refusal> {
        let is_known = |word: &&String| {
            self.given.contains(*word) || COLUMNS.contains(&word.as_str()) || VIEWS.contains(&word.as_str())
        };
        match self.used.iter().find(|word| !is_known(word)) {
            Some(word) => Err(Refusal::Word { word: word.clone() }),
            None => Ok(()),
        }
    }
}

impl Reading<'_> {
    /// The whole statement; answers where its question begins.
    fn statement(&mut self) -> Result<usize, Refusal> {
        if self.takes("explain") && self.takes("query") && !self.takes("plan") {
            return Err(self.misplaced());
        }
        let begin = self.at;
        if !self.is("select") && !self.is("with") {
            return Err(Refusal::NoQuestion);
        }
        if self.takes("with") {
            loop {
                let name = self.name()?;
                self.needs("as")?;
                self.needs_sign("(")?;
                self.inside(Self::question)?;
                self.named.questions.insert(name);
                if !self.takes_sign(",") {
                    break;
                }
            }
        }
        self.question()?;
        let end = self.at;
        self.takes_sign(";");
        if self.at < self.tokens.len() {
            let is_behind = self.at > end;
            return Err(if is_behind { Refusal::Several } else { self.misplaced() });
        }
        self.at = end;
        Ok(begin)
    }

    /// SELECT, and what follows it up to the end or a closing parenthesis.
    fn question(&mut self) -> Result<(), Refusal> {
        loop {
            self.needs("select")?;
            if !self.takes("distinct") {
                self.takes("all");
            }
            self.list(Self::column)?;
            if self.takes("from") {
                self.list_of_tables()?;
            }
            if self.takes("where") {
                self.expression()?;
            }
            if self.takes("group") {
                self.needs("by")?;
                self.list(Self::expression)?;
            }
            if self.takes("having") {
                self.expression()?;
            }
            match self.takes_one(&["union", "intersect", "except"]) {
                Some("union") => {
                    self.takes("all");
                }
                Some(_) => {}
                None => break,
            }
        }
        if self.takes("order") {
            self.needs("by")?;
            self.list(Self::order)?;
        }
        if self.takes("limit") {
            self.expression()?;
            if self.takes("offset") || self.takes_sign(",") {
                self.expression()?;
            }
        }
        Ok(())
    }

    fn column(&mut self) -> Result<(), Refusal> {
        self.expression()?;
        if self.takes("as") {
            self.name()?;
        }
        Ok(())
    }

    fn order(&mut self) -> Result<(), Refusal> {
        self.expression()?;
        if !self.takes("asc") {
            self.takes("desc");
        }
        if self.takes("nulls") && !self.takes("first") && !self.takes("last") {
            return Err(self.misplaced());
        }
        Ok(())
    }

    fn list_of_tables(&mut self) -> Result<(), Refusal> {
        self.table()?;
        loop {
            if self.takes_sign(",") {
                self.table()?;
                continue;
            }
            let begin = self.at;
            self.takes("natural");
            if let Some("left" | "right" | "full") =
                self.takes_one(&["left", "right", "full", "inner", "cross"])
            {
                self.takes("outer");
            }
            if !self.takes("join") {
                return if self.at == begin { Ok(()) } else { Err(self.misplaced()) };
            }
            self.table()?;
            if self.takes("on") {
                self.expression()?;
            } else if self.takes("using") {
                self.needs_sign("(")?;
                self.inside(|reading| reading.list(Self::expression))?;
            }
        }
    }

    fn table(&mut self) -> Result<(), Refusal> {
        self.tables += 1;
        if self.tables > TABLES_MAX {
            return Err(Refusal::Tables);
        }
        if self.takes_sign("(") {
            self.inside(Self::question)?;
        } else {
            let Some(Token::Word(name)) = self.peek() else { return Err(self.misplaced()) };
            if !VIEWS.contains(&name.as_str()) && !self.named.questions.contains(name) {
                return Err(Refusal::Relation { name: name.clone() });
            }
            self.at += 1;
        }
        let is_named = matches!(self.peek(), Some(Token::Word(word)) if !RESERVED.contains(&word.as_str()));
        if self.takes("as") || is_named {
            self.name()?;
        }
        Ok(())
    }

    /// An expression, up to what cannot be part of it. Values and what joins them take turns.
    fn expression(&mut self) -> Result<(), Refusal> {
        let mut cases = 0_usize;
        let mut has_value = false;
        while let Some(token) = self.peek() {
            match token {
                Token::Sign("," | ")" | ";") => break,
                Token::Word(word) if ENDS.contains(&word.as_str()) => break,
                Token::Sign("::") if has_value && self.dialect == Dialect::Postgres => {
                    self.at += 1;
                    self.kind()?;
                }
                Token::Sign("*") if !has_value => {
                    self.at += 1;
                    has_value = true;
                }
                Token::Sign(sign) if OPERATORS.contains(sign) => {
                    self.at += 1;
                    has_value = false;
                }
                Token::Word(word) if is_joint(word) => {
                    let word = word.clone();
                    self.at += 1;
                    has_value = self.joint(&word, has_value, &mut cases)?;
                }
                _ if has_value => return Err(self.misplaced()),
                _ => {
                    self.value()?;
                    has_value = true;
                }
            }
        }
        match (has_value, cases) {
            (true, 0) => Ok(()),
            _ => Err(self.misplaced()),
        }
    }

    /// A word between values; answers whether a value is complete behind it.
    fn joint(&mut self, word: &str, has_value: bool, cases: &mut usize) -> Result<bool, Refusal> {
        let needs_value = !matches!(word, "not" | "case" | "exists" | "when");
        if word == "not" && has_value {
            let goes_on = ["in", "like", "ilike", "glob", "between"].iter().any(|next| self.is(next));
            return if goes_on { Ok(true) } else { Err(self.misplaced()) };
        }
        let begun_by_case = word == "when" || word == "then" || word == "else" || word == "end";
        if needs_value && !has_value
            || begun_by_case && *cases == 0
            || !needs_value && word != "when" && has_value
        {
            self.at -= 1;
            return Err(self.misplaced());
        }
        match word {
            "case" => *cases += 1,
            "end" => *cases -= 1,
            "in" => {
                self.needs_sign("(")?;
                self.inside(Self::question_or_list)?;
            }
            "exists" => {
                self.needs_sign("(")?;
                self.inside(Self::question)?;
            }
            "is" => {
                self.takes("not");
                if self.takes_one(&["null", "true", "false"]).is_none() {
                    return Err(self.misplaced());
                }
            }
            _ => {}
        }
        Ok(matches!(word, "end" | "in" | "exists" | "is"))
    }

    fn value(&mut self) -> Result<(), Refusal> {
        let (first, next) = (self.peek(), self.tokens.get(self.at + 1));
        match (first, next) {
            (Some(Token::Text(_) | Token::Number(_)), _) => self.at += 1,
            (Some(Token::Sign("(")), _) => {
                self.at += 1;
                self.inside(Self::question_or_list)?;
            }
            (Some(Token::Word(word)), Some(Token::Sign("("))) => {
                let word = word.clone();
                self.at += 2;
                self.call(&word)?;
            }
            (Some(Token::Word(word)), Some(Token::Text(_)))
                if self.dialect == Dialect::Postgres
                    && ["date", "interval", "timestamp", "timestamptz"].contains(&word.as_str()) =>
            {
                self.at += 2;
            }
            (Some(Token::Word(word)), _) if ["null", "true", "false"].contains(&word.as_str()) => {
                self.at += 1
            }
            (Some(Token::Word(word)), _) => {
                if RESERVED.contains(&word.as_str()) {
                    return Err(self.misplaced());
                }
                self.named.used.insert(word.clone());
                self.at += 1;
                if self.takes_sign(".") && !self.takes_sign("*") {
                    let Some(Token::Word(column)) = self.peek() else { return Err(self.misplaced()) };
                    self.named.used.insert(column.clone());
                    self.at += 1;
                    if matches!(self.peek(), Some(Token::Sign("." | "("))) {
                        return Err(self.misplaced());
                    }
                }
            }
            _ => return Err(self.misplaced()),
        }
        Ok(())
    }

    /// A function behind its opening parenthesis.
    fn call(&mut self, name: &str) -> Result<(), Refusal> {
        if name == "cast" {
            return self.inside(|reading| {
                reading.expression()?;
                reading.needs("as")?;
                reading.kind()
            });
        }
        let allowed = functions(self.dialect);
        if !allowed.contains(&name) {
            return Err(Refusal::Function { name: name.to_owned(), allowed });
        }
        self.inside(|reading| {
            if matches!(reading.peek(), Some(Token::Sign(")"))) {
                return Ok(());
            }
            reading.takes("distinct");
            reading.list(Self::expression)
        })?;
        if self.takes("within") {
            self.needs("group")?;
            self.needs_sign("(")?;
            self.inside(Self::window)?;
        }
        if self.takes("filter") {
            self.needs_sign("(")?;
            self.inside(|reading| {
                reading.needs("where")?;
                reading.expression()
            })?;
        }
        if self.takes("over") {
            self.needs_sign("(")?;
            self.inside(Self::window)?;
        }
        Ok(())
    }

    fn window(&mut self) -> Result<(), Refusal> {
        if self.takes("partition") {
            self.needs("by")?;
            self.list(Self::expression)?;
        }
        if self.takes("order") {
            self.needs("by")?;
            self.list(Self::order)?;
        }
        Ok(())
    }

    fn question_or_list(&mut self) -> Result<(), Refusal> {
        if self.is("select") { self.question() } else { self.list(Self::expression) }
    }

    /// A type.
    fn kind(&mut self) -> Result<(), Refusal> {
        match self.peek() {
            Some(Token::Word(name)) if TYPES.contains(&name.as_str()) => {
                self.at += 1;
                Ok(())
            }
            Some(Token::Word(name)) => Err(Refusal::Type { name: name.clone(), allowed: TYPES }),
            _ => Err(self.misplaced()),
        }
    }

    /// A name that is given.
    fn name(&mut self) -> Result<String, Refusal> {
        let Some(Token::Word(name)) = self.peek() else { return Err(self.misplaced()) };
        let name = name.clone();
        let begins = ["v_", "pg_", "sqlite_"].iter().any(|begin| name.starts_with(begin));
        if begins || RESERVED.contains(&name.as_str()) {
            return Err(Refusal::Name { name });
        }
        self.at += 1;
        self.named.given.insert(name.clone());
        Ok(name)
    }

    fn list(&mut self, item: impl Fn(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        item(self)?;
        while self.takes_sign(",") {
            item(self)?;
        }
        Ok(())
    }

    /// What stands up to a closing parenthesis, behind the opening one.
    fn inside(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Refusal::Deep);
        }
        read(self)?;
        self.depth -= 1;
        self.needs_sign(")")
    }

    fn peek(&self) -> Option<&'_ Token<'_>> {
        self.tokens.get(self.at)
    }

    fn is(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found == word)
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    fn takes_one(&mut self, words: &[&'static str]) -> Option<&'static str> {
        words.iter().copied().find(|word| self.takes(word))
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn needs(&mut self, word: &str) -> Result<(), Refusal> {
        if self.takes(word) { Ok(()) } else { Err(self.misplaced()) }
    }

    fn needs_sign(&mut self, sign: &str) -> Result<(), Refusal> {
        if self.takes_sign(sign) { Ok(()) } else { Err(self.misplaced()) }
    }

    fn misplaced(&self) -> Refusal {
        match self.peek() {
            Some(token) => Refusal::Place { token: token.to_string().chars().take(64).collect() },
            None => Refusal::Early,
        }
    }
}
