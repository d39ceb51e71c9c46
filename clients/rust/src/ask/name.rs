//! Topics and patterns as programs say them.

use topichub_protocol::{Filter, Topic, TopicError};

/// A topic or pattern, or a text that is to be one.
pub trait Name {
    /// The name as what one subscribes to.
    ///
    /// # Errors
    /// If it breaks the rules for names.
    fn filter(self) -> Result<Filter, TopicError>;

    /// The name as what one publishes to.
    ///
    /// # Errors
    /// If it breaks the rules for names, or has wildcards.
    fn topic(self) -> Result<Topic, TopicError>;
}

impl Name for &str {
    fn filter(self) -> Result<Filter, TopicError> {
        Filter::parse(self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Topic::parse(self)
    }
}

impl Name for &String {
    fn filter(self) -> Result<Filter, TopicError> {
        Filter::parse(self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Topic::parse(self)
    }
}

impl Name for String {
    fn filter(self) -> Result<Filter, TopicError> {
        Filter::parse(&self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Topic::parse(&self)
    }
}

impl Name for Topic {
    fn filter(self) -> Result<Filter, TopicError> {
        Ok(self.into())
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Ok(self)
    }
}

impl Name for &Topic {
    fn filter(self) -> Result<Filter, TopicError> {
        Ok(self.clone().into())
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Ok(self.clone())
    }
}

impl Name for Filter {
    fn filter(self) -> Result<Filter, TopicError> {
        Ok(self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        match self {
            Self::Topic(topic) => Ok(topic),
            Self::Pattern(pattern) => Topic::parse(pattern.as_str()),
        }
    }
}
