//! The links, by number.

use transport_sdk::Reason;

use crate::tx_queue::TxQueue;

/// The low bits of a number are a place in the table, the rest tells its successive links apart.
const PLACE_BITS: u32 = 20;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
/// Successive numbers of one place; none is 0, so no link is.
const TURN_MAX: u32 = (1 << (32 - PLACE_BITS)) - 1;

/// One connection.
#[derive(Debug, Default)]
pub struct Link {
    /// The host's I/O object.
    pub io: u32,
    /// Whether it is made; else it is being dialled.
    pub up: bool,
    /// Peer address.
    pub peer: String,
    /// Which configured peer it was dialled for.
    pub dial: Option<usize>,
    /// Received octets not handed on yet: the beginning of a frame, or more where a batch was full.
    pub rx: Vec<u8>,
    /// Whether `rx` may begin with whole frames.
    pub rx_whole: bool,
    /// Whether it is in the list of links to read.
    pub queued: bool,
    /// When the frame that has begun must be complete, 0 when none has. Host time, ns.
    pub frame_deadline: u64,
    /// When the connection must be made. Host time, ns.
    pub connect_deadline: u64,
    /// When it was made. Host time, ns.
    pub up_at: u64,
    /// Why it takes nothing more to send; it ends when what came before is read.
    pub broken: Option<Reason>,
    /// When something last came or went. Host time, ns.
    pub active: u64,
    /// Its deadline in the timers, 0 for none.
    pub timer: u64,
    /// What waits to be written.
    pub tx: TxQueue,
    /// Whether it is in the list of links to write.
    pub dirty: bool,
    /// Whether the connection takes no more now; it will become writable.
    pub blocked: bool,
}

/// The links, by number.
#[derive(Debug, Default)]
pub struct Links {
    places: Vec<(u32, Option<Link>)>,
    free: Vec<u32>,
    len: usize,
    first_turn: u32,
}

impl Links {
    /// No links. `seed` is any number: it sets where the numbers begin, so that those of an instance
    /// started anew hardly ever mean a link of the one before.
    pub fn new(seed: u32) -> Self {
        Self { first_turn: seed % TURN_MAX, ..Self::default() }
    }

    /// Number of links.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds one and answers its number; `None` when all numbers are taken.
    pub fn insert(&mut self, link: Link) -> Option<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(self.places.len()).ok().filter(|place| *place <= PLACE_MASK)?;
                self.places.push((self.first_turn, None));
                place
            }
        };
        let (turn, slot) = self.places.get_mut(place as usize)?;
        *turn = if *turn >= TURN_MAX { 1 } else { turn.saturating_add(1) };
        *slot = Some(link);
        self.len = self.len.saturating_add(1);
        Some((*turn << PLACE_BITS) | place)
    }

    /// The link of this number.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Link> {
        match self.places.get_mut((number & PLACE_MASK) as usize) {
            Some((turn, link)) if *turn == number >> PLACE_BITS => link.as_mut(),
            _ => None,
        }
    }

    /// The link of this number, when frames can be sent on it.
    pub fn sending(&mut self, number: u32) -> Option<&mut Link> {
        self.get_mut(number).filter(|link| link.up && link.broken.is_none())
    }

    /// The numbers of all links that frames can be sent on.
    pub fn sending_numbers(&mut self) -> Vec<u32> {
        let mut numbers = self.numbers();
        numbers.retain(|number| self.sending(*number).is_some());
        numbers
    }

    /// Takes the link of this number out; the number is void.
    pub fn remove(&mut self, number: u32) -> Option<Link> {
        let (turn, link) = self.places.get_mut((number & PLACE_MASK) as usize)?;
        let link = if *turn == number >> PLACE_BITS { link.take() } else { None }?;
        self.free.push(number & PLACE_MASK);
        self.len = self.len.saturating_sub(1);
        Some(link)
    }

    /// The numbers of all links.
    pub fn numbers(&self) -> Vec<u32> {
        let used = self.places.iter().enumerate().filter(|(_, (_, link))| link.is_some());
        used.map(|(place, (turn, _))| (*turn << PLACE_BITS) | u32::try_from(place).unwrap_or(0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_void_after_its_link() {
        let mut links = Links::default();
        let first = links.insert(Link::default()).unwrap();
        assert!(first != 0 && links.get_mut(first).is_some());
        assert!(links.remove(first).is_some() && links.remove(first).is_none());
        let second = links.insert(Link::default()).unwrap();
        assert_ne!(first, second);
        assert!(links.get_mut(first).is_none() && links.get_mut(second).is_some());
        assert_eq!((links.len(), links.numbers()), (1, vec![second]));
    }

    #[test]
    fn where_numbers_begin_depends_on_the_seed() {
        let first = |seed| Links::new(seed).insert(Link::default()).unwrap();
        assert_ne!(first(5), first(6));
        assert!([0, TURN_MAX - 1, TURN_MAX, u32::MAX].into_iter().all(|seed| first(seed) != 0));
    }

    #[test]
    fn numbers_come_round_and_are_never_zero() {
        let mut links = Links::default();
        for _ in 0..=TURN_MAX {
            let number = links.insert(Link::default()).unwrap();
            assert_ne!(number, 0);
            assert!(links.remove(number).is_some());
        }
    }
}
