//! What a plugin may reach: the `grants` table of a `[transport.NAME]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use node::Value;
use transport_sdk::abi::io as kind;

use crate::pipe::PipeEnd;
use crate::serial;

/// Why a grant cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grant `{grant}`: {what}")]
pub struct GrantError {
    /// The grant's name.
    pub grant: String,
    /// What is wrong.
    pub what: String,
}

/// Addresses that may be dialled: `10.1.2.3:1153`, `10.0.0.0/8:1153`, `[fd00::]/8:*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    ip: IpAddr,
    prefix: u8,
    port: Option<u16>,
}

impl Allowed {
    /// Reads the form above; `None` when it is another.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (network, port) = text.rsplit_once(':')?;
        let port = if port == "*" { None } else { Some(port.parse().ok()?) };
        let (ip, prefix) = match network.rsplit_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().ok()?)),
            None => (network, None),
        };
        let ip: IpAddr = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
            Some(v6) => IpAddr::V6(v6.parse().ok()?),
            None => IpAddr::V4(ip.parse().ok()?),
        };
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        (prefix <= whole).then_some(Self { ip, prefix, port })
    }

    /// Whether it covers an address.
    #[must_use]
    pub fn covers(&self, address: SocketAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((ours, whole), (theirs, other)) = (bits(self.ip), bits(address.ip()));
        let free = u32::from(u8::try_from(whole).unwrap_or(0).saturating_sub(self.prefix));
        let same = (ours ^ theirs).checked_shr(free).unwrap_or(0) == 0;
        whole == other && same && self.port.is_none_or(|port| port == address.port())
    }
}

/// One thing that a plugin may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// `tcp_listen = "ADDRESS:PORT"`: to listen there; port 0 takes any free one.
    TcpListen(SocketAddr),
    /// `tcp_connect = ["ADDRESS[/PREFIX]:PORT", ..]`: to dial these.
    TcpConnect(Vec<Allowed>),
    /// `udp = { bind = "ADDRESS:PORT", peers = ["ADDRESS[/PREFIX]:PORT", ..] }`: datagrams to and from these.
    Udp {
        /// Where it is bound; port 0 takes any free one.
        bind: SocketAddr,
        /// Who may send, and may be sent to.
        peers: Vec<Allowed>,
    },
    /// `serial = "/dev/ttyUSB0"` or `serial = { device = "/dev/ttyUSB0", baud = 460800, rts_cts = true }`: a
    /// serial line, or a pseudoterminal.
    Serial(SerialLine),
    /// A stream of this process itself: in simulations and tests, never from a file.
    Pipe(PipeEnd),
}

/// A serial line and how it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialLine {
    /// The device's path, absolute.
    pub device: PathBuf,
    /// Bits a second.
    pub baud: u32,
    /// Whether hardware flow control is used.
    pub rts_cts: bool,
}

/// Bits a second of a serial line where nothing is said.
const BAUD: u32 = 115_200;

impl Grant {
    /// The words for the kinds of grant.
    pub const KINDS: [&'static str; 4] = ["tcp_listen", "tcp_connect", "udp", "serial"];

    /// Whether it is what an object of this kind is opened by.
    #[must_use]
    pub fn opens(&self, what: u32) -> bool {
        let kind = match self {
            Self::TcpListen(_) => kind::TCP_LISTEN,
            Self::TcpConnect(_) => kind::TCP_CONNECT,
            Self::Udp { .. } => kind::UDP,
            Self::Serial(_) | Self::Pipe(_) => kind::STREAM,
        };
        kind == what
    }

    fn read(kind: &str, value: &Value) -> Result<Self, String> {
        match (kind, value) {
            ("tcp_listen", Value::Text(text)) => Ok(Self::TcpListen(address(text)?)),
            ("tcp_listen", _) => Err("`tcp_listen` takes one address".into()),
            ("tcp_connect", value) => Ok(Self::TcpConnect(allowed(value)?)),
            ("udp", Value::Table(table)) => {
                let mut bind = None;
                let mut peers = Vec::new();
                for (key, value) in table {
                    match (key.as_str(), value) {
                        ("bind", Value::Text(text)) => bind = Some(address(text)?),
                        ("peers", value) => peers = allowed(value)?,
                        _ => return Err("`udp` takes `bind`, an address, and `peers`, a list".into()),
                    }
                }
                let bind = bind.ok_or("`udp` needs `bind`, the address that it is bound to")?;
                Ok(Self::Udp { bind, peers })
            }
            ("udp", _) => Err("`udp` takes a table: { bind = \"IP:PORT\", peers = [..] }".into()),
            ("serial", Value::Text(device)) => Self::serial(device, BAUD, false),
            ("serial", Value::Table(table)) => {
                let (mut device, mut baud, mut rts_cts) = ("", BAUD, false);
                for (key, value) in table {
                    match (key.as_str(), value) {
                        ("device", Value::Text(text)) => device = text,
                        ("baud", Value::Integer(rate)) => {
                            baud = u32::try_from(*rate).map_err(|_| format!("no baud rate is {rate}"))?;
                        }
                        ("rts_cts", Value::Bool(flag)) => rts_cts = *flag,
                        _ => return Err("`serial` takes `device`, `baud` and `rts_cts`".into()),
                    }
                }
                Self::serial(device, baud, rts_cts)
            }
            ("serial", _) => Err("`serial` takes a device or a table with `device`".into()),
            _ => Err(format!("no kind of grant is called `{kind}`; {}", one_of())),
        }
    }

    fn serial(device: &str, baud: u32, rts_cts: bool) -> Result<Self, String> {
        if !device.starts_with('/') {
            return Err(format!("`{device}` is not the absolute path of a device"));
        }
        if serial::speed(baud).is_none() {
            return Err(format!("serial lines do not run at {baud} baud"));
        }
        Ok(Self::Serial(SerialLine { device: device.into(), baud, rts_cts }))
    }
}

fn one_of() -> String {
    format!("must hold exactly one of `{}`", Grant::KINDS.join("`, `"))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not IP:PORT"))
}

/// An address that is allowed, or a list of them.
fn allowed(value: &Value) -> Result<Vec<Allowed>, String> {
    let one = |value: &Value| match value {
        Value::Text(text) => {
            Allowed::parse(text).ok_or_else(|| format!("`{text}` is not IP[/PREFIX]:PORT (PORT may be *)"))
        }
        _ => Err("must be an address or a list of addresses".into()),
    };
    match value {
        Value::List(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// What a plugin may reach, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(pub BTreeMap<String, Grant>);

impl Grants {
    /// Reads the `grants` table of a graph file.
    ///
    /// # Errors
    /// [`GrantError`] with the first grant that cannot be read.
    pub fn from_value(value: &Value) -> Result<Self, GrantError> {
        let wrong = |grant: &str, what: &str| GrantError { grant: grant.into(), what: what.into() };
        let Value::Table(table) = value else { return Err(wrong("", "must be a table of tables")) };
        let mut grants = BTreeMap::new();
        for (name, value) in table {
            let Value::Table(inner) = value else { return Err(wrong(name, &one_of())) };
            let mut entries = inner.iter();
            let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
                return Err(wrong(name, &one_of()));
            };
            let grant = Grant::read(kind, value).map_err(|what| wrong(name, &what))?;
            grants.insert(name.clone(), grant);
        }
        Ok(Self(grants))
    }

    /// The grant of this name; for an empty name the only one of which `is_kind` is true.
    #[must_use]
    pub fn find(&self, name: &str, is_kind: impl Fn(&Grant) -> bool) -> Option<(&str, &Grant)> {
        if !name.is_empty() {
            let (name, grant) = self.0.get_key_value(name)?;
            return Some((name, grant));
        }
        let mut fitting = self.0.iter().filter(|(_, grant)| is_kind(grant));
        match (fitting.next(), fitting.next()) {
            (Some((name, grant)), None) => Some((name, grant)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, Value)]) -> Value {
        Value::Table(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    #[test]
    fn allow_lists_cover_what_they_say() {
        for (rule, address, covered) in [
            ("10.1.2.3:1153", "10.1.2.3:1153", true),
            ("10.1.2.3:1153", "10.1.2.3:1154", false),
            ("10.0.0.0/8:*", "10.9.9.9:5", true),
            ("10.0.0.0/8:*", "11.0.0.1:5", false),
            ("0.0.0.0/0:1153", "192.0.2.1:1153", true),
            ("0.0.0.0/0:*", "[2001:db8::1]:1153", false),
            ("[fd00::]/8:1153", "[fd12::1]:1153", true),
            ("[fd00::]/8:1153", "[2001:db8::1]:1153", false),
        ] {
            let allowed = Allowed::parse(rule).unwrap();
            assert_eq!(allowed.covers(address.parse().unwrap()), covered, "{rule} {address}");
        }
        for bad in ["10.0.0.1", "10.0.0.0/33:1", "host:1", "fd00::1:1", "10.0.0.1:70000"] {
            assert_eq!(Allowed::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_table_of_a_graph_file_is_read() {
        let listen = table(&[("tcp_listen", "127.0.0.1:0".into())]);
        let dial = table(&[("tcp_connect", Value::List(vec!["127.0.0.1:*".into()]))]);
        let grants = Grants::from_value(&table(&[("wan", listen.clone()), ("up", dial)])).unwrap();
        let is_listen = |grant: &Grant| matches!(grant, Grant::TcpListen(_));
        assert_eq!(grants.find("", is_listen).map(|(name, _)| name), Some("wan"));
        let line = table(&[("device", "/dev/ttyACM0".into()), ("baud", Value::Integer(460_800))]);
        let peers = Value::List(vec!["10.0.0.0/8:*".into()]);
        let more = table(&[
            ("radio", table(&[("serial", line)])),
            ("backhaul", table(&[("udp", table(&[("bind", "127.0.0.1:0".into()), ("peers", peers)]))])),
        ]);
        let more = Grants::from_value(&more).unwrap();
        assert!(matches!(&more.0["radio"], Grant::Serial(line) if line.baud == 460_800 && !line.rts_cts));
        assert!(more.0["radio"].opens(kind::STREAM) && more.0["backhaul"].opens(kind::UDP));
        let two = Grants::from_value(&table(&[("a", listen.clone()), ("b", listen)])).unwrap();
        assert!(two.find("", is_listen).is_none() && two.find("b", is_listen).is_some());
    }

    #[test]
    fn a_wrong_grant_is_named() {
        for wrong in [
            Value::Bool(true),
            table(&[]),
            table(&[("udp", "127.0.0.1:1".into())]),
            table(&[("udp", table(&[("peers", Value::List(vec![]))]))]),
            table(&[("udp", table(&[("bind", "127.0.0.1:0".into()), ("mtu", Value::Integer(9))]))]),
            table(&[("serial", "ttyUSB0".into())]),
            table(&[("serial", table(&[("device", "/dev/ttyS0".into()), ("baud", Value::Integer(7))]))]),
            table(&[("telepathy", "all".into())]),
            table(&[("tcp_listen", "localhost:1".into())]),
            table(&[("tcp_connect", Value::Integer(1))]),
        ] {
            assert_eq!(Grants::from_value(&table(&[("wan", wrong)])).unwrap_err().grant, "wan");
        }
    }
}
