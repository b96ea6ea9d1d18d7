//! C12.22 Registration inside the association (`c1222.md` §7): who and where the node is, sealed as type 1, and
//! answered by a RESPONSE.

use c1222::ap_title::Form;
use c1222::epsem::ResponseControl;
use c1222::native_address::ShortOctets;
use c1222::registration::{ConnectionType, NodeType, Registration, TaggedId};
use c1222::u24::U24;
use c1222::{ApTitleBuf, EpsemControl, EpsemWriter, Leniency, Request, Response, SecurityMode, ServiceCode};

use super::entropy::{Entropy, below};

const NS_PER_S: u64 = 1_000_000_000;
/// An answer is waited for so long, 1 to 5 minutes, twice and then four times that.
const PAUSE_S: u64 = 60;
const PAUSE_SPREAD_S: u64 = 240;
const DOUBLINGS_MAX: u8 = 2;

/// Registration of the node in the network.
pub(super) struct Node {
    /// A request is on its way.
    asked: bool,
    /// When the next request is sent; `u64::MAX` for never.
    next_ns: u64,
    doublings: u8,
    /// After an outage it asks within this, so that a network full of nodes does not ask at once.
    delay_s: u16,
    speedup: u64,
}

impl Node {
    pub fn new(speedup: u32) -> Self {
        Self { asked: false, next_ns: u64::MAX, doublings: 0, delay_s: 0, speedup: u64::from(speedup.max(1)) }
    }

    /// Asks at the next opportunity.
    pub fn ask_at(&mut self, at_ns: u64) {
        (self.next_ns, self.doublings) = (at_ns, 0);
    }

    /// The link was made anew: it asks at once, or as late as it was told to.
    pub fn linked(&mut self, now_ns: u64, entropy: &mut dyn Entropy) {
        let most_ns = u64::from(self.delay_s).saturating_mul(NS_PER_S) / self.speedup;
        let at_ns = now_ns.saturating_add(below(entropy, most_ns.saturating_add(1)));
        (self.next_ns, self.doublings) = (self.next_ns.min(at_ns), 0);
    }

    pub fn wake_ns(&self) -> u64 {
        self.next_ns
    }

    /// Whether a request is to be made now; it is repeated later if no answer comes.
    pub fn is_due(&mut self, now_ns: u64, entropy: &mut dyn Entropy) -> bool {
        if now_ns < self.next_ns {
            return false;
        }
        let pause = PAUSE_S.saturating_add(below(entropy, PAUSE_SPREAD_S.saturating_add(1)));
        let pause_ns = (pause << self.doublings).saturating_mul(NS_PER_S) / self.speedup;
        self.next_ns = now_ns.saturating_add(pause_ns);
        self.doublings = self.doublings.saturating_add(1).min(DOUBLINGS_MAX);
        self.asked = true;
        true
    }

    /// Takes the octets of a RESPONSE: the node's title from now on; `None` when nothing was asked, or the
    /// request was refused.
    pub fn response(&mut self, response: &[u8], now_ns: u64) -> Option<ApTitleBuf> {
        if !self.asked {
            return None;
        }
        match Response::decode(response, Some(ServiceCode::REGISTRATION), Leniency::Strict).ok()? {
            Response::Registration(told) => {
                self.asked = false;
                // Before the period has ended the node shows that it is still there; 0 is never.
                let period_ns = u64::from(told.period_s.get()).saturating_mul(NS_PER_S);
                let quarter = period_ns / 4;
                let never = period_ns == 0 || told.period_s == U24::MAX;
                self.next_ns =
                    if never { u64::MAX } else { now_ns.saturating_add(period_ns.saturating_sub(quarter)) };
                (self.doublings, self.delay_s) = (0, told.delay_s);
                Some(told.title.into())
            }
            // Refused: tried again when that is due.
            _ => None,
        }
    }
}

/// The EPSEM of a request.
pub(super) fn request(title: &ApTitleBuf, esn: &str, device_class: [u8; 4]) -> Vec<u8> {
    let mut epsem = Vec::new();
    let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Always);
    let registration = Registration {
        node_type: NodeType(NodeType::END_DEVICE),
        connection_type: ConnectionType(ConnectionType::BROADCAST | ConnectionType::CO),
        device_class,
        title: Some(title.as_title()),
        serial_number: TaggedId { form: Form::RelativeOid, octets: esn.as_bytes() },
        // Behind a cell relay it has no address of its own: the way back is the link that this comes over.
        native_address: ShortOctets::default(),
        period_s: U24::MAX,
        domain_pattern: None,
    };
    EpsemWriter::new(&mut epsem, control, None).request(&Request::Registration(registration));
    epsem
}

#[cfg(test)]
mod tests {
    use super::*;
    use c1222::Epsem;
    use c1222::registration::Registered;

    fn answer(title: &str, period: u32) -> Vec<u8> {
        let title = ApTitleBuf::parse(title).unwrap();
        let mut out = Vec::new();
        Response::Registration(Registered {
            title: title.as_title(),
            delay_s: 60,
            period_s: U24::new(period).unwrap(),
            info: ConnectionType(0),
        })
        .encode(&mut out);
        out
    }

    #[test]
    fn a_request_says_who_it_is_and_an_answer_is_understood() {
        let title = ApTitleBuf::parse(".68.33.3").unwrap();
        let epsem = request(&title, "MGRF0001", *b"MGRF");
        let epsem = Epsem::decode(&epsem).unwrap();
        let Request::Registration(asked) =
            Request::decode(epsem.services().next().unwrap().unwrap()).unwrap()
        else {
            panic!("no Registration")
        };
        assert_eq!((asked.serial_number.octets, asked.device_class), (&b"MGRF0001"[..], *b"MGRF"));
        assert!(asked.title.unwrap().same_node(&title.as_title()));

        let mut node = Node::new(1);
        let mut entropy = |octets: &mut [u8]| octets.fill(0);
        assert!(node.response(&answer(".68.33.4", 3600), 5).is_none(), "nothing was asked");
        node.ask_at(10);
        assert!(!node.is_due(9, &mut entropy) && node.is_due(10, &mut entropy));
        assert_eq!(node.wake_ns(), 10 + 60 * NS_PER_S);
        assert!(node.response(&[3], 20).is_none(), "refused");
        assert!(node.is_due(node.wake_ns(), &mut entropy));
        assert_eq!(node.wake_ns(), 10 + 180 * NS_PER_S, "twice as long");
        let told = node.response(&answer(".68.33.4", 3600), 30).unwrap();
        assert!(told.as_title().same_node(&ApTitleBuf::parse(".68.33.4").unwrap().as_title()));
        assert_eq!(node.wake_ns(), 30 + 2700 * NS_PER_S);
        // After an outage it spreads with the others; this one draws the first moment of all.
        node.linked(40, &mut entropy);
        assert!(node.is_due(40, &mut entropy));
        assert_eq!(node.delay_s, 60);
        node.response(&answer(".68.33.4", 0), 50).unwrap();
        assert_eq!(node.wake_ns(), u64::MAX);
    }
}
