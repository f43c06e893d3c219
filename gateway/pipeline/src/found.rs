//! The values that were found on the promoted paths of one message.

use quayside_model::{Code, Name, TextError, Value, ValueError, ValueType};

use crate::{Invalid, codes, promotions::Compiled};

/// One place for each promotion.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    rules: &'a [Compiled],
    values: Vec<Option<Value>>,
    /// Whether those of paths that need the whole document are found elsewhere.
    defers: bool,
}

impl<'a> Found<'a> {
    pub(crate) fn new(rules: &'a [Compiled]) -> Self {
        Self {
            rules,
            values: vec![None; rules.len()],
            defers: false,
        }
    }

    /// The same, where paths that need the whole document are followed when it is there.
    pub(crate) fn streaming(rules: &'a [Compiled]) -> Self {
        Self {
            defers: true,
            ..Self::new(rules)
        }
    }

    /// Refuses a second value for the promotion `rule`: which one routes would be a guess.
    pub(crate) fn vacant(&self, rule: usize, offset: u64) -> Result<(), Invalid> {
        if self.values[rule].is_none() {
            return Ok(());
        }
        let detail = format!("`{}` occurs more than once", self.rules[rule].name);
        Err(Invalid::new(codes::REPEATED, offset, detail))
    }

    /// Sets the value of the promotion `rule` to what `text`, which begins at `offset`, stands for.
    pub(crate) fn set(&mut self, rule: usize, text: &str, offset: u64) -> Result<(), Invalid> {
        self.vacant(rule, offset)?;
        let Compiled {
            name, value_type, ..
        } = &self.rules[rule];
        let value = Value::parse(text, *value_type).map_err(|error| {
            let code = match error {
                ValueError::Text(TextError::Nul) => codes::CHARACTER,
                ValueError::Text(_) => codes::VALUE_TOO_LONG,
                ValueError::WrongType { .. } => codes::WRONG_TYPE,
            };
            let detail = match code {
                codes::WRONG_TYPE => {
                    format!(
                        "`{name}` is {}, not {}",
                        Invalid::quote(text),
                        in_words(*value_type)
                    )
                }
                _ => format!("`{name}`: {error}"),
            };
            Invalid::new(code, offset, detail)
        })?;
        self.values[rule] = Some(value);
        Ok(())
    }

    /// A fault of the promotion `rule`.
    pub(crate) fn fault(&self, rule: usize, code: Code, offset: u64, what: &str) -> Invalid {
        Invalid::new(code, offset, format!("`{}` {what}", self.rules[rule].name))
    }

    /// How many values were found so far.
    pub(crate) fn count(&self) -> usize {
        self.values.iter().flatten().count()
    }

    /// What was found, in the order of the names.
    ///
    /// # Errors
    /// The first required property that was not.
    pub(crate) fn finish(self, offset: u64) -> Result<Vec<(Name, Value)>, Invalid> {
        self.so_far(offset)
    }

    /// What was found, whatever is required.
    pub(crate) fn there(self) -> Vec<(Name, Value)> {
        let rules = self.rules.iter().zip(self.values);
        rules
            .filter_map(|(rule, value)| Some((rule.name.clone(), value?)))
            .collect()
    }

    /// What was found up to `offset`, as at the end.
    pub(crate) fn so_far(&self, offset: u64) -> Result<Vec<(Name, Value)>, Invalid> {
        let mut properties = Vec::with_capacity(self.rules.len());
        for (rule, value) in self.rules.iter().zip(&self.values) {
            match value {
                Some(value) => properties.push((rule.name.clone(), value.clone())),
                None if rule.required && !(self.defers && rule.whole.is_some()) => {
                    let detail = format!("the message has no `{}`", rule.name);
                    return Err(Invalid::new(codes::REQUIRED, offset, detail));
                }
                None => {}
            }
        }
        Ok(properties)
    }
}

/// `value_type` as a fault names it.
pub(crate) fn in_words(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::String => "text",
        ValueType::Integer => "a whole number",
        ValueType::Decimal => "a decimal number",
        ValueType::Boolean => "true or false",
        ValueType::DateTime => "a time with an offset, such as 2026-11-21T09:00:00Z",
    }
}
