//! Where the reader of several topics stands, as the text of the ids that say so (SPEC.md §21.4).

use topichub_protocol::event_id::{EVENT_ID_BYTES_MAX, EVENT_ID_TOPICS_MAX};

use super::event::{id_of, write_id};

/// `TOPIC EPOCH:OFFSET` for as many topics as an id holds, the latest last.
#[derive(Debug, Default)]
pub(in crate::transport) struct Places {
    /// One text, because it goes into each event as it is.
    text: Vec<u8>,
    /// Where in it each topic begins.
    starts: Vec<u16>,
    /// Where in it the latest position begins.
    latest: u16,
}

impl Clone for Places {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), starts: self.starts.clone(), latest: self.latest }
    }

    fn clone_from(&mut self, other: &Self) {
        self.text.clone_from(&other.text);
        self.starts.clone_from(&other.starts);
        self.latest = other.latest;
    }
}

impl PartialEq for Places {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Places {
    /// The id.
    pub(in crate::transport) fn text(&self) -> &[u8] {
        &self.text
    }

    /// In this topic the reader stands here now.
    pub(super) fn note(&mut self, topic: &[u8], position: &[u8]) {
        match self.starts.iter().rposition(|start| self.is_at(*start, topic)) {
            Some(place) if place + 1 == self.starts.len() => {}
            Some(place) => {
                self.remove(place);
                self.begin(topic);
            }
            None => {
                if self.starts.len() >= EVENT_ID_TOPICS_MAX {
                    self.remove(0);
                }
                self.begin(topic);
            }
        }
        self.move_latest(position);
    }

    fn move_latest(&mut self, position: &[u8]) {
        self.text.truncate(usize::from(self.latest));
        self.text.extend_from_slice(position);
        while self.text.len() > EVENT_ID_BYTES_MAX {
            self.remove(0);
        }
    }

    fn is_at(&self, start: u16, topic: &[u8]) -> bool {
        let rest = self.text[usize::from(start)..].strip_prefix(topic);
        rest.is_some_and(|rest| rest.starts_with(b" "))
    }

    fn begin(&mut self, topic: &[u8]) {
        if !self.text.is_empty() {
            self.text.push(b' ');
        }
        self.starts.push(self.text.len() as u16);
        self.text.extend_from_slice(topic);
        self.text.push(b' ');
        self.latest = self.text.len() as u16;
    }

    /// Forgets the topic in this place.
    fn remove(&mut self, place: usize) {
        let start = self.starts.remove(place);
        match self.starts.get(place) {
            Some(next) => {
                let len = *next - start;
                self.text.drain(usize::from(start)..usize::from(*next));
                self.starts[place..].iter_mut().for_each(|start| *start -= len);
                self.latest -= len;
            }
            None => {
                self.text.truncate(usize::from(start).saturating_sub(1));
                self.latest = self.text.len() as u16;
            }
        }
    }

    /// Goes on to where an event of ours leads, and returns what stands behind its id. None if it has no id.
    pub(super) fn follow<'a>(&mut self, event: &'a [u8]) -> Option<&'a [u8]> {
        let (id, rest) = id_of(event)?;
        // Mostly it is the topic that had something last.
        let start = self.starts.last().map_or(self.latest, |start| *start);
        let topic = &self.text[usize::from(start)..usize::from(self.latest)];
        if let Some(position) = id.strip_prefix(topic)
            && !position.contains(&b' ')
        {
            self.move_latest(position);
            return Some(rest);
        }
        let mut words = id.split(|byte| *byte == b' ');
        while let (Some(topic), Some(position)) = (words.next(), words.next()) {
            self.note(topic, position);
        }
        Some(rest)
    }

    /// Appends an event of ours. Its id becomes that of a stream that has come so far.
    pub(super) fn readdress(&mut self, event: &[u8], out: &mut Vec<u8>) {
        let Some(rest) = self.follow(event) else { return out.extend_from_slice(event) };
        write_id(&self.text, out);
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use topichub_protocol::event_id::EventId;

    use super::*;

    fn told(places: &Places) -> &str {
        std::str::from_utf8(places.text()).unwrap()
    }

    fn note(places: &mut Places, topic: &str, position: &str) {
        places.note(topic.as_bytes(), position.as_bytes());
    }

    #[test]
    fn an_id_names_the_latest_topics_last() {
        let mut places = Places::default();
        for (topic, position) in [("a", "7:1"), ("b", "7:1"), ("a", "7:2"), ("a", "7:3")] {
            note(&mut places, topic, position);
        }
        assert_eq!(told(&places), "b 7:1 a 7:3");
        let mut out = Vec::new();
        places.readdress(b"id: b 7:2 c 7:9\nevent: gap\ndata: {}\n\n", &mut out);
        let event = "id: a 7:3 b 7:2 c 7:9\nevent: gap\ndata: {}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), event);
    }

    #[test]
    fn a_topic_is_not_taken_for_one_that_it_begins_like() {
        let mut places = Places::default();
        for (topic, position) in
            [("a.b", "7:1"), ("a", "7:2"), ("a.b", "8:1"), ("a.b.c", "7:3"), ("a", "7:10")]
        {
            note(&mut places, topic, position);
        }
        assert_eq!(told(&places), "a.b 8:1 a.b.c 7:3 a 7:10");
    }

    #[test]
    fn of_too_many_topics_the_latest_stay_in_an_id() {
        let mut places = Places::default();
        (0..150).for_each(|number| note(&mut places, &format!("t{number}"), "7:1"));
        let text = told(&places);
        assert!(text.starts_with("t50 7:1 t51 ") && text.ends_with(" t149 7:1"), "{text}");
        (0..100).for_each(|number| note(&mut places, &format!("{}{number}", "long".repeat(50)), "7:1"));
        let text = told(&places);
        assert!(text.len() <= EVENT_ID_BYTES_MAX && text.len() > 3800, "{}", text.len());
        assert!(text.parse::<EventId>().is_ok(), "{text}");
    }

    #[test]
    fn where_an_id_becomes_too_long_the_oldest_topic_leaves_it() {
        let mut places = Places::default();
        // 40 topics of 101 bytes with a blank before each but the first.
        (0..40).for_each(|number| note(&mut places, &format!("{number:097}"), "7:1"));
        note(&mut places, &format!("{:012}", 40), "7:1");
        assert_eq!((told(&places).len(), places.starts[1]), (EVENT_ID_BYTES_MAX, 102));
        note(&mut places, &format!("{:012}", 40), "7:10");
        assert_eq!(told(&places).len(), EVENT_ID_BYTES_MAX + 1 - 102);
        assert!(told(&places).starts_with(&format!("{:097} 7:1 ", 1)));
        note(&mut places, &format!("{:097}", 39), "7:2");
        assert!(told(&places).ends_with(&format!("{:012} 7:10 {:097} 7:2", 40, 39)));
    }
}
