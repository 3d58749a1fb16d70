//! Reads the wire format of a message while it arrives, before it is decoded: estimates the memory that decoding and using
//! the message takes, and refuses lists that are too long.
//!
//! Two bytes can make an item of hundreds, so the length of a message says little about its memory. Values are not checked,
//! because decoding does that.

use super::message_shapes::{FieldContent, FieldShape, MESSAGE_SHAPES, MessageShape};
use crate::domain::new_invitation::ITEMS_MAX;

/// Messages inside of each other, with the outermost. The decoder has the same limit.
const DEPTH_MAX: usize = 101;
/// What the allocator adds to a text, at most.
const TEXT_OVERHEAD_BYTES: usize = 16;
/// Entries of the smallest list that has one, and of a list that has just doubled its room.
const FIRST_ENTRY_ROOM: usize = 4;
const ENTRY_ROOM: usize = 2;
/// Entries of the smallest map that has one.
const FIRST_MAP_ENTRY_ROOM: usize = 12;
/// Most bytes of the wire in a varint.
const VARINT_SHIFT_MAX: u32 = 63;
/// What an entry of the outermost list takes while it is used: its checked form, its row and its result.
const ITEM_USE_BYTES: usize = 2 * 1024;

pub(crate) struct MessageScan {
    /// The messages that have begun and not ended, the outermost first.
    open: Vec<OpenMessage>,
    expected: Expected,
    varint: u64,
    shift: u32,
    position: usize,
    decoded_bytes: usize,
}

struct OpenMessage {
    shape: &'static MessageShape,
    /// The name of its field.
    name: &'static str,
    end: usize,
    /// The entries of all its lists and maps.
    entries: usize,
    /// A bit for each list that has an entry.
    begun: u64,
}

/// What comes next.
enum Expected {
    Tag,
    Scalar,
    /// The length of a field. `None` if the field is unknown.
    Length(Option<&'static FieldShape>),
    /// Bytes that need not be read.
    Skipped(usize),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    Malformed,
    /// A list or map has too many entries; with its path.
    TooManyItems(String),
}

impl MessageScan {
    /// The scan of a message of this length, whose shape has this number.
    pub(crate) fn new(shape: usize, length: usize) -> Self {
        let shape = MESSAGE_SHAPES.shape(shape);
        let outermost = OpenMessage::new(shape, "", length);
        Self {
            open: vec![outermost],
            expected: Expected::Tag,
            varint: 0,
            shift: 0,
            position: 0,
            decoded_bytes: shape.bytes,
        }
    }

    /// The memory that the message takes as far as it was read, beside copies of its bytes.
    pub(crate) fn weight(&self) -> usize {
        self.decoded_bytes + self.open[0].entries * ITEM_USE_BYTES
    }

    /// The name of the list that takes most of the memory: the one that is being read, or the list of the items.
    pub(crate) fn list_name(&self) -> String {
        let current = self.open.get(1).map(|message| message.name.to_owned());
        let lists = self.open[0].shape.fields.iter();
        let mut first = lists.filter(|field| field.is_list).map(|field| &field.name);
        current
            .or_else(|| first.next().cloned())
            .unwrap_or_default()
    }

    /// Reads the next bytes of the message.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        while let Some((first, rest)) = bytes.split_first() {
            if let Expected::Skipped(missing) = self.expected {
                let skipped = missing.min(bytes.len());
                bytes = &bytes[skipped..];
                self.position += skipped;
                self.skip(missing - skipped);
            } else {
                bytes = rest;
                self.position += 1;
                self.read_varint(*first)?;
            }
            self.close_ended()?;
        }
        Ok(())
    }

    fn read_varint(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.shift > VARINT_SHIFT_MAX {
            return Err(ScanError::Malformed);
        }
        self.varint |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte & 0x80 != 0 {
            return Ok(());
        }
        let value = std::mem::take(&mut self.varint);
        self.shift = 0;
        match self.expected {
            Expected::Tag => self.begin_field(value),
            Expected::Length(field) => {
                self.expected = Expected::Tag;
                self.begin_content(field, value)
            }
            Expected::Scalar | Expected::Skipped(_) => {
                self.expected = Expected::Tag;
                Ok(())
            }
        }
    }

    fn begin_field(&mut self, tag: u64) -> Result<(), ScanError> {
        let number = tag >> 3;
        let shape = self.top().shape;
        let field = shape.fields.iter().find(|field| field.number == number);
        match tag & 7 {
            0 => self.expected = Expected::Scalar,
            1 => self.skip_within(8)?,
            2 => {
                self.expected = Expected::Length(field);
                return Ok(());
            }
            // Groups are only skipped by the decoder.
            3 | 4 => {}
            5 => self.skip_within(4)?,
            _ => return Err(ScanError::Malformed),
        }
        match field.filter(|field| field.is_list) {
            Some(field) => self.count_entries(field, 1, size_of::<u64>()),
            None => Ok(()),
        }
    }

    fn begin_content(
        &mut self,
        field: Option<&'static FieldShape>,
        length: u64,
    ) -> Result<(), ScanError> {
        let length = usize::try_from(length).map_err(|_| ScanError::Malformed)?;
        let Some(field) = field else {
            return self.skip_within(length);
        };
        match field.content {
            // A packed list, whose entries have at least one byte.
            FieldContent::Scalar if field.is_list => {
                self.count_entries(field, length, size_of::<u64>())?;
            }
            FieldContent::Scalar => {}
            FieldContent::Text => {
                if length > 0 {
                    self.decoded_bytes += length + TEXT_OVERHEAD_BYTES;
                }
                if field.is_list {
                    self.count_entries(field, 1, size_of::<String>())?;
                }
            }
            FieldContent::Message(number) | FieldContent::MapEntry(number) => {
                let shape = MESSAGE_SHAPES.shape(number);
                if field.is_list {
                    self.count_entries(field, 1, shape.bytes)?;
                }
                return self.open_message(shape, &field.name, length);
            }
        }
        self.skip_within(length)
    }

    fn open_message(
        &mut self,
        shape: &'static MessageShape,
        name: &'static str,
        length: usize,
    ) -> Result<(), ScanError> {
        let end = self.position.checked_add(length);
        let end = end.filter(|end| *end <= self.top().end && self.open.len() < DEPTH_MAX);
        let end = end.ok_or(ScanError::Malformed)?;
        self.open.push(OpenMessage::new(shape, name, end));
        Ok(())
    }

    fn count_entries(
        &mut self,
        field: &FieldShape,
        count: usize,
        bytes: usize,
    ) -> Result<(), ScanError> {
        let is_nested = self.open.len() > 1;
        let top = self.top();
        top.entries += count;
        let is_first = is_nested && top.begin(field);
        if top.entries > ITEMS_MAX {
            return Err(ScanError::TooManyItems(self.path(field)));
        }
        let room = match (is_first, field.content) {
            (true, FieldContent::MapEntry(_)) => FIRST_MAP_ENTRY_ROOM,
            (true, _) => FIRST_ENTRY_ROOM,
            (false, _) => ENTRY_ROOM,
        };
        self.decoded_bytes += count * room * bytes;
        Ok(())
    }

    /// The names of the fields that lead to a field.
    fn path(&self, field: &FieldShape) -> String {
        let names = self.open.iter().skip(1).map(|message| message.name);
        let names: Vec<_> = names.chain([field.name.as_str()]).collect();
        names.join(".")
    }

    fn skip_within(&mut self, length: usize) -> Result<(), ScanError> {
        if length > self.top().end.saturating_sub(self.position) {
            return Err(ScanError::Malformed);
        }
        self.skip(length);
        Ok(())
    }

    fn skip(&mut self, length: usize) {
        self.expected = match length {
            0 => Expected::Tag,
            _ => Expected::Skipped(length),
        };
    }

    /// Closes the messages that end here.
    fn close_ended(&mut self) -> Result<(), ScanError> {
        let is_between_fields = matches!(self.expected, Expected::Tag) && self.shift == 0;
        while self.position >= self.top().end {
            if !is_between_fields || self.position > self.top().end {
                return Err(ScanError::Malformed);
            }
            if self.open.len() == 1 {
                break;
            }
            self.open.pop();
        }
        Ok(())
    }

    fn top(&mut self) -> &mut OpenMessage {
        let top = self.open.last_mut();
        top.expect("the outermost message is never removed")
    }
}

impl OpenMessage {
    fn new(shape: &'static MessageShape, name: &'static str, end: usize) -> Self {
        Self {
            shape,
            name,
            end,
            entries: 0,
            begun: 0,
        }
    }

    /// Notes that a list or map has an entry. Returns whether this is its first one.
    fn begin(&mut self, field: &FieldShape) -> bool {
        let bit = 1 << (field.number % u64::from(u64::BITS));
        let is_first = self.begun & bit == 0;
        self.begun |= bit;
        is_first
    }
}

#[cfg(test)]
#[path = "message_scan_tests.rs"]
mod tests;
