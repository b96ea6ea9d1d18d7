//! The elements of a table: what the indices of a service point at.

use std::ops::Range;

use c1222::device_profile::TableLayout;
use c1222::tables::{Format, ManufacturerId, TableId};

/// A table, or a part of one, as elements within elements. Elements are numbered from 0 in the order in which
/// the standard lists them; bits within an octet are not told apart.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// So many octets that have no parts.
    Octets(usize),
    /// So many elements of one shape.
    Array(Box<Shape>, usize),
    /// Elements of different shapes.
    Record(Vec<Shape>),
}

impl Shape {
    /// A record of elements without parts, of these sizes.
    pub fn fields(sizes: impl IntoIterator<Item = usize>) -> Self {
        Self::Record(sizes.into_iter().map(Self::Octets).collect())
    }

    /// So many elements of one shape.
    pub fn array(of: Self, count: usize) -> Self {
        Self::Array(Box::new(of), count)
    }

    /// A table of the standard that never changes, with this data.
    pub fn of_fixed(table: TableId, data: &[u8], format: &Format) -> Self {
        match table.number() {
            0 => {
                let sets = data.get(13..17).unwrap_or_default().iter().map(|size| usize::from(*size));
                let writable = sets.clone().take(2);
                Self::fields([1, 1, 1, 4].into_iter().chain([1; 12]).chain(sets).chain(writable))
            }
            1 => Self::fields([4, 8, 1, 1, 1, 1, ManufacturerId::serial_size(format)]),
            3 => Self::fields([1, 2, 1]),
            11 | 20 | 21 => Self::fields(std::iter::repeat_n(1, data.len())),
            12 => Self::Record(vec![Self::array(Self::Octets(4), data.len() / 4)]),
            16 | 22 => Self::Record(vec![Self::array(Self::Octets(1), data.len())]),
            60 | 61 => {
                let sets = data.len().saturating_sub(7) / 6;
                let sets = std::iter::repeat_n([2, 2, 1, 1], sets).flatten();
                Self::fields([4, 2, 1].into_iter().chain(sets))
            }
            70 | 71 => Self::fields([1, 1, 1, 1, 1, 2, 2]),
            _ => Self::fields([data.len()]),
        }
    }

    /// The fields of a layout, and what lies between them. Of fields that overlap only the first is an element.
    pub fn of_layout(layout: &TableLayout) -> Self {
        let fields = layout.fields.iter().map(|field| (field.offset, field.quantity.size));
        let mut places: Vec<(usize, usize)> = fields.collect();
        places.sort_unstable();
        let (mut sizes, mut at) = (Vec::new(), 0_usize);
        for (offset, size) in places.into_iter().chain([(layout.size, 0)]) {
            if let Some(gap) = offset.checked_sub(at) {
                sizes.extend([gap, size].into_iter().filter(|size| *size > 0));
                at = offset.saturating_add(size);
            }
        }
        Self::fields(sizes)
    }

    /// Octets of it.
    pub fn size(&self) -> usize {
        match self {
            Self::Octets(size) => *size,
            Self::Array(of, count) => of.size().saturating_mul(*count),
            Self::Record(elements) => elements.iter().map(Self::size).fold(0, usize::saturating_add),
        }
    }

    /// The octets of `elements` elements, the first at these indices; `None` where they are not all there.
    pub fn range(&self, indices: &[u16], elements: usize) -> Option<Range<usize>> {
        let (last, path) = indices.split_last()?;
        let (mut within, mut start) = (self, 0_usize);
        for index in path {
            start = start.checked_add(within.before(usize::from(*index))?)?;
            within = within.element(usize::from(*index))?;
        }
        let last = usize::from(*last);
        let end = within.before(last.checked_add(elements)?)?.checked_add(start)?;
        let start = within.before(last)?.checked_add(start)?;
        (elements > 0).then_some(start..end)
    }

    /// The octets of as many whole elements from these indices on as `size` octets fill; `None` where they
    /// fill none, or end within one.
    pub fn range_of_size(&self, indices: &[u16], size: usize) -> Option<Range<usize>> {
        (1..=usize::from(u16::MAX))
            .map_while(|elements| self.range(indices, elements))
            .find(|range| range.len() >= size)
            .filter(|range| range.len() == size)
    }

    fn element(&self, index: usize) -> Option<&Self> {
        match self {
            Self::Octets(_) => None,
            Self::Array(of, count) => (index < *count).then_some(of),
            Self::Record(elements) => elements.get(index),
        }
    }

    /// Octets before an element; of the one after the last, the whole size.
    fn before(&self, index: usize) -> Option<usize> {
        match self {
            Self::Octets(_) => None,
            Self::Array(of, count) => (index <= *count).then(|| of.size().saturating_mul(index)),
            Self::Record(elements) => elements.get(..index).map(|before| before.iter().map(Self::size).sum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_lead_to_octets() {
        let entry = Shape::fields([4, 2]);
        let table = Shape::Record(vec![Shape::Octets(1), Shape::Octets(2), Shape::array(entry, 3)]);
        assert_eq!(table.size(), 21);
        for (indices, elements, range) in [
            (&[0][..], 1, Some(0..1)),
            (&[0], 3, Some(0..21)),
            (&[1], 2, Some(1..21)),
            (&[2, 1], 1, Some(9..15)),
            (&[2, 1], 2, Some(9..21)),
            (&[2, 2, 1], 1, Some(19..21)),
            (&[0], 0, None),
            (&[0], 4, None),
            (&[3], 1, None),
            (&[2, 3], 1, None),
            (&[2, 2, 2], 1, None),
            (&[0, 0], 1, None),
            (&[], 1, None),
            (&[2, u16::MAX, 0], 65_535, None),
        ] {
            assert_eq!(table.range(indices, elements), range, "{indices:?} {elements}");
        }
    }

    #[test]
    fn what_is_written_ends_with_an_element() {
        let table = Shape::Record(vec![Shape::Octets(1), Shape::Octets(2), Shape::Octets(4)]);
        assert_eq!(table.range_of_size(&[1], 2), Some(1..3));
        assert_eq!(table.range_of_size(&[1], 6), Some(1..7));
        for size in [0, 1, 3, 7, 70_000] {
            assert_eq!(table.range_of_size(&[1], size), None, "{size}");
        }
    }
}
