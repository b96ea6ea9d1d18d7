//! A transport with one link that breaks down on demand: a frame whose octets are the name of a fault brings it
//! about. Every other frame comes back.

use transport_sdk::{
    BatchIn, BatchOut, Error, Event, Host, Limits, LinkEvent, LinkState, Readiness, Reason, Stats, Step,
    Transport, TxEnd,
};

const LINK: u32 = 1;
/// Frames that wait to be fetched.
const FRAMES: usize = 64;

#[derive(Default)]
struct Faulty {
    frames: Vec<Vec<u8>>,
    events: Vec<Event>,
    hoard: Vec<Vec<u8>>,
    sums: Stats,
}

/// Recurses until the stack ends; the sum keeps it from becoming a loop.
#[allow(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 32]);
    here.iter().sum::<u64>().wrapping_add(recurse(depth + 1))
}

impl Faulty {
    fn fault(&mut self, name: &[u8]) -> bool {
        match name {
            b"loop" => loop {
                std::hint::black_box(&self.sums);
            },
            b"panic" => panic!("as told"),
            b"recurse" => std::hint::black_box(recurse(1)) == 0,
            b"hoard" => loop {
                self.hoard.push(vec![7; 1 << 20]);
            },
            _ => false,
        }
    }
}

impl Transport for Faulty {
    const NAME: &'static str = "faulty";
    const VERSION: &'static str = "1";
    const CONFIG_SCHEMA: &'static str = r#"{"type": "object", "additionalProperties": false}"#;

    fn open(_: &str, _: &str, _: &Host<'_>) -> Result<(Self, Limits), Error> {
        Ok((Self::default(), Limits { max_frame: 4096, tx_queue: 64, max_links: 1, ..Limits::default() }))
    }

    fn start(&mut self, host: &Host<'_>, now: u64) -> Result<(), Error> {
        let mut octets = [0; 8];
        host.random(&mut octets);
        host.counter_add("starts", 1);
        host.gauge_set("luck", f64::from(octets[0]));
        self.sums.links = 1;
        self.events.push(Event::Link(LinkEvent {
            link: LINK,
            state: LinkState::Up,
            reason: Reason::None,
            peer: "faulty".into(),
            mtu: 4096,
            hops: 0,
            rssi: 0,
            rtt: 0,
            at: now,
        }));
        Ok(())
    }

    fn poll(&mut self, _: &Host<'_>, _: u64, _: &[Readiness]) -> Result<Step, Error> {
        Ok(Step {
            tx_room: FRAMES.saturating_sub(self.frames.len()) as u32,
            rx_pending: u8::from(!self.frames.is_empty()),
            events_pending: u8::from(!self.events.is_empty()),
            ..Step::default()
        })
    }

    fn send(&mut self, _: &Host<'_>, batch: &BatchIn<'_>) -> Result<usize, Error> {
        let mut taken = 0;
        for (frame, octets) in batch.iter().take(FRAMES.saturating_sub(self.frames.len())) {
            let octets = octets.unwrap_or_default();
            self.fault(octets);
            self.frames.push(octets.to_vec());
            self.sums.tx_frames += 1;
            self.sums.tx_sent += 1;
            self.sums.tx_bytes += octets.len() as u64;
            if frame.bits & transport_sdk::abi::bits::REPORT != 0 {
                self.events.push(Event::Tx {
                    link: frame.link,
                    tag: frame.tag,
                    end: TxEnd::Sent,
                    at: frame.at,
                });
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn receive(&mut self, host: &Host<'_>, out: &mut BatchOut<'_>) -> Result<(), Error> {
        let fits = |out: &BatchOut<'_>, octets: &[u8]| out.room() >= octets.len() && out.frame_room() > 0;
        while self.frames.first().is_some_and(|octets| fits(out, octets)) {
            let octets = self.frames.remove(0);
            let at = out.len();
            if out.append(&octets) && out.push(LINK, at, octets.len(), host.now()) {
                self.sums.rx_frames += 1;
                self.sums.rx_bytes += octets.len() as u64;
            }
        }
        Ok(())
    }

    fn next_event(&mut self, _: &Host<'_>) -> Option<Event> {
        if self.events.is_empty() { None } else { Some(self.events.remove(0)) }
    }

    fn close_link(&mut self, _: &Host<'_>, _: u32) {}

    fn stats(&self) -> Stats {
        self.sums
    }

    fn command(&mut self, _: &Host<'_>, name: &str, arguments: &str) -> Result<String, Error> {
        Ok(format!("{{\"{name}\": {arguments}}}"))
    }

    fn close(&mut self, _: &Host<'_>, _: u64) -> Result<(), Error> {
        self.sums.links = 0;
        Ok(())
    }
}

transport_sdk::export_transport!(Faulty);
