//! The elements of a table: what the indices of a service point at.

use std::ops::Range;

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
