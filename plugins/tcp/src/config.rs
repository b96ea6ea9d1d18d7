//! The plugin's configuration and its schema.

use serde_json::{Map, Value};

/// What it may reach, as far as it is configured to.
pub const GRANTS: &str = r#"[
    {"kind": "tcp_listen", "purpose": "cell relays and end devices connect here"},
    {"kind": "tcp_connect", "purpose": "cell relays that are dialled"}
]"#;

/// JSON Schema of the configuration.
pub const SCHEMA: &str = include_str!("config.schema.json");

/// Most octets that may wait on all links; less where memory ends before.
const TX_TOTAL_MAX: usize = match 1_usize.checked_shl(34) {
    Some(octets) => octets,
    None => usize::MAX >> 1,
};

/// A peer to be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The grant that allows it; empty for the only one.
    pub grant: String,
    /// `IP:PORT`
    pub address: String,
}

/// The configuration; the schema says what each key means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Grants to listen on; an empty name is the only one.
    pub listen: Vec<String>,
    /// Peers to dial and to keep connected.
    pub connect: Vec<Peer>,
    /// ns
    pub idle_timeout: u64,
    /// ns
    pub frame_timeout: u64,
    /// ns
    pub connect_timeout: u64,
    /// ns
    pub redial_min: u64,
    /// ns
    pub redial_max: u64,
    /// Links at a time, dialled ones included.
    pub links_max: usize,
    /// Octets of a frame, tag and length included.
    pub frame_max: usize,
    /// Octets that wait to be sent on one link.
    pub tx_queue_octets: usize,
    /// Octets that wait to be sent on all links.
    pub tx_total_octets: usize,
}

impl Config {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let value: Value =
            serde_json::from_str(text).map_err(|e| format!("the configuration is no JSON: {e}"))?;
        let Value::Object(map) = value else { return Err("the configuration is no table".into()) };
        let mut keys = Keys { map };
        let connect = keys.peers()?;
        // With nothing said it is a server on the one address it was granted.
        let listen = match keys.texts("listen")? {
            Some(grants) => grants,
            None if connect.is_empty() => vec![String::new()],
            None => Vec::new(),
        };
        let config = Self {
            listen,
            connect,
            idle_timeout: keys.seconds("idle_timeout_s", 1, 604_800, 900)?,
            frame_timeout: keys.seconds("frame_timeout_s", 1, 3600, 30)?,
            connect_timeout: keys.seconds("connect_timeout_s", 1, 600, 10)?,
            redial_min: keys.seconds("redial_min_s", 1, 3600, 1)?,
            redial_max: keys.seconds("redial_max_s", 1, 86_400, 300)?,
            links_max: keys.number("links_max", 1, 1_000_000, 10_000)?,
            frame_max: keys.number("frame_max", 64, 1_048_576, 32_767)?,
            tx_queue_octets: keys.number("tx_queue_octets", 1024, 1 << 30, 262_144)?,
            tx_total_octets: keys.number("tx_total_octets", 1024, TX_TOTAL_MAX, 67_108_864)?,
        };
        if let Some(unknown) = keys.map.keys().next() {
            return Err(format!("unknown key `{unknown}`"));
        }
        if config.listen.is_empty() && config.connect.is_empty() {
            return Err("`listen` and `connect` are both empty: nothing to do".into());
        }
        Ok(config)
    }
}

/// The keys not read yet.
struct Keys {
    map: Map<String, Value>,
}

impl Keys {
    fn number(&mut self, key: &str, min: usize, max: usize, default: usize) -> Result<usize, String> {
        let Some(value) = self.map.remove(key) else { return Ok(default) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("`{key}` must be a whole number from {min} to {max}")),
        }
    }

    fn seconds(&mut self, key: &str, min: usize, max: usize, default: usize) -> Result<u64, String> {
        Ok((self.number(key, min, max, default)? as u64).saturating_mul(1_000_000_000))
    }

    fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, String> {
        let wrong = || format!("`{key}` must be a list of grant names");
        let Some(value) = self.map.remove(key) else { return Ok(None) };
        let list = value.as_array().ok_or_else(wrong)?;
        let texts = list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong));
        texts.collect::<Result<_, _>>().map(Some)
    }

    fn peers(&mut self) -> Result<Vec<Peer>, String> {
        let wrong = || "`connect` must be a list of tables with `address` and perhaps `grant`".to_owned();
        let Some(value) = self.map.remove("connect") else { return Ok(Vec::new()) };
        let mut peers = Vec::new();
        for item in value.as_array().ok_or_else(wrong)? {
            let item = item.as_object().ok_or_else(wrong)?;
            let text = |key: &str| item.get(key).map(|value| value.as_str().ok_or_else(wrong)).transpose();
            let address = text("address")?.ok_or_else(wrong)?.to_owned();
            let grant = text("grant")?.unwrap_or_default().to_owned();
            if let Some(unknown) = item.keys().find(|key| *key != "address" && *key != "grant") {
                return Err(format!("unknown key `{unknown}` in `connect`"));
            }
            peers.push(Peer { grant, address });
        }
        Ok(peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_and_the_parser_know_the_same_keys_and_defaults() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let mut all = Map::new();
        for (key, property) in properties {
            assert!(property["description"].is_string(), "{key} has no description");
            if let Some(default) = property.get("default") {
                all.insert(key.clone(), default.clone());
                let low = property["minimum"].as_u64().unwrap();
                let under = serde_json::json!({ key: low - 1 }).to_string();
                assert!(Config::parse(&under).unwrap_err().contains(key.as_str()));
            }
        }
        assert_eq!(Config::parse(&Value::Object(all).to_string()), Config::parse("{}"));
        assert!(properties.contains_key("listen") && properties.contains_key("connect"));
    }

    #[test]
    fn faults_name_their_key() {
        for (text, word) in [
            (r#"{"idle_timeout":5}"#, "idle_timeout"),
            (r#"{"frame_max":"big"}"#, "frame_max"),
            (r#"{"listen":"wan"}"#, "listen"),
            (r#"{"connect":[{"grant":"up"}]}"#, "connect"),
            (r#"{"connect":[{"address":"127.0.0.1:1","port":1}]}"#, "port"),
            (r#"{"listen":[]}"#, "nothing to do"),
            ("[]", "table"),
            ("{", "JSON"),
        ] {
            assert!(Config::parse(text).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn a_dialler_does_not_listen_unless_told() {
        let config = Config::parse(r#"{"connect":[{"address":"10.0.0.1:1153"}]}"#).unwrap();
        assert!(config.listen.is_empty());
        assert_eq!(config.connect[0], Peer { grant: String::new(), address: "10.0.0.1:1153".into() });
        assert_eq!(Config::parse("{}").unwrap().listen, [""]);
    }
}
