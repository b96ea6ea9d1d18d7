//! A body in words, for who approves of it: from its octets alone, so that what is read is what is signed.

use c1222::request::Request;
use c1222::tables::{ByteOrder, Format, Initiate};
use c1222::{Epsem, TableData};
use seal::command::{Class, Classes, KeyItem, SetTime};
use seal::control::Items;
use seal::hex::Hex;

/// What a body of this class does, line by line. Octets that are none are shown as they are.
#[must_use]
pub fn shown(class: Class, body: &[u8]) -> Vec<String> {
    let lines = match class {
        Class::Keys => {
            Items::<KeyItem<'_>>::read(body).ok().map(|items| items.map(|item| key_item(&item)).collect())
        }
        Class::Time => SetTime::read(body).map(|time| vec![set_time(&time)]),
        Class::Read | Class::Write | Class::Firmware | Class::Load => services(body),
    };
    lines
        .unwrap_or_else(|| vec![format!("octets that are no body of class {}: {}", class.octet(), Hex(body))])
}

fn key_item(item: &KeyItem<'_>) -> String {
    match item {
        KeyItem::Advance { campaign, delta, challenge } => {
            format!("advance the epoch by {delta}: campaign {campaign}, challenge {}", Hex(&challenge[..]))
        }
        KeyItem::Join { gid, classes } => format!("join group {gid}, which may order {}", listed(*classes)),
        KeyItem::Leave { gid } => format!("leave group {gid}"),
        KeyItem::SignerAdd { skid, point, classes, not_before } => format!(
            "believe signing key {skid} for {}, from Unix second {not_before}: x {}, y {}",
            listed(*classes),
            Hex(point.x),
            Hex(point.y)
        ),
        KeyItem::SignerRevoke { skid } => format!("believe signing key {skid} no more"),
        KeyItem::CredentialNext { kid, point } => {
            format!("take head-end credential {kid} as the next: x {}, y {}", Hex(point.x), Hex(point.y))
        }
    }
}

fn listed(classes: Classes) -> String {
    let all = (0..8_u8).filter(|class| classes.0 >> class & 1 == 1).map(|class| class.to_string());
    let all: Vec<String> = all.collect();
    if all.is_empty() { "no class".to_owned() } else { format!("class {}", all.join(", ")) }
}

fn set_time(time: &SetTime) -> String {
    let SetTime { nonce, time_ms } = time;
    let asked = if *nonce == [0; 8] { String::new() } else { format!(", as asked with {}", Hex(nonce)) };
    format!("set the clock to {time_ms} ms of Unix time{asked}")
}

/// Each service of an EPSEM.
fn services(body: &[u8]) -> Option<Vec<String>> {
    let epsem = Epsem::decode(body).ok()?;
    epsem.check().ok()?;
    epsem
        .services()
        .map(|service| service.ok().and_then(|octets| Some(request(&Request::decode(octets).ok()?))))
        .collect()
}

fn request(request: &Request<'_>) -> String {
    let name = request.code().name();
    let content = |data: &TableData<'_>| {
        let mut octets = Vec::new();
        data.append_to(&mut octets);
        octets
    };
    match request {
        Request::FullRead(table) => format!("{name} {table}"),
        Request::IndexRead { table, index, elements } => {
            format!("{name} {table}: {elements} elements from {:?}", index.indices())
        }
        Request::OffsetRead { table, offset, count } => {
            format!("{name} {table}: {count} octets from {}", offset.get())
        }
        Request::FullWrite { table, data } if *table == Initiate::TABLE => {
            let octets = content(data);
            procedure(&octets).unwrap_or_else(|| format!("{name} {table}: {}", Hex(&octets)))
        }
        Request::FullWrite { table, data } => format!("{name} {table}: {}", Hex(&content(data))),
        Request::IndexWrite { table, index, data } => {
            format!("{name} {table} from {:?}: {}", index.indices(), Hex(&content(data)))
        }
        Request::OffsetWrite { table, offset, data } => {
            format!("{name} {table} from octet {}: {}", offset.get(), Hex(&content(data)))
        }
        other => {
            let mut octets = Vec::new();
            other.encode(&mut octets);
            format!("{name}: {}", Hex(&octets))
        }
    }
}

/// The procedure that a write of ST7 starts. Its number is in the device's order of octets, which only the
/// device profile tells: so it is read in both.
fn procedure(octets: &[u8]) -> Option<String> {
    let read = |order| Initiate::read(octets, &Format { order, ..Format::default() }).ok();
    let named = |initiate: &Initiate<'_>| match initiate.procedure.name() {
        Some(name) => format!("procedure {} ({name})", initiate.procedure),
        None => format!("procedure {}", initiate.procedure),
    };
    let (little, big) = (read(ByteOrder::Little)?, read(ByteOrder::Big)?);
    let parameters = match little.parameters {
        [] => "without parameters".to_owned(),
        parameters => format!("parameters {}", Hex(parameters)),
    };
    Some(format!(
        "start {} (in a big-endian device: {}), call {}, {parameters}",
        named(&little),
        named(&big),
        little.sequence
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::universal;
    use crate::front::OrderKind;
    use c1222::epsem::ResponseControl;
    use c1222::tables::{Post, ProcedureId};
    use c1222::{EpsemControl, EpsemWriter, SecurityMode, TableId, U24};
    use proptest::prelude::*;

    fn body(class: Class, requests: &[Request<'_>]) -> Vec<u8> {
        let mut octets = Vec::new();
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Always);
        let mut writer = EpsemWriter::new(&mut octets, control, None);
        requests.iter().for_each(|request| _ = writer.request(request));
        class.pad(&mut octets);
        octets
    }

    #[test]
    fn services_are_told_with_all_their_octets() {
        let mut call = Vec::new();
        let initiate = Initiate {
            procedure: ProcedureId::standard(21),
            post: Post::Completion,
            sequence: 9,
            parameters: &[1, 0xaf],
        };
        initiate.write(&Format::default(), &mut call);
        let (table, offset) = (TableId::manufacturer(5), U24::new(70_000).unwrap());
        let body = body(
            Class::Load,
            &[
                Request::FullWrite { table: Initiate::TABLE, data: TableData::of(&call) },
                Request::FullRead(TableId::standard(8)),
                Request::FullWrite { table, data: TableData::of(&[1, 2]) },
                Request::OffsetWrite { table, offset, data: TableData::of(&[3]) },
            ],
        );
        let lines = shown(Class::Load, &body);
        let [start, read, whole, part] = &lines[..] else { panic!("{lines:?}") };
        assert!(
            start.starts_with("start procedure SP21 (direct load control) (in a big-endian device: "),
            "{start}"
        );
        assert!(start.ends_with("call 9, parameters 01af"), "{start}");
        assert!(read.contains("ST8") && whole.ends_with("MT5: 0102"), "{read} {whole}");
        assert!(part.ends_with("MT5 from octet 70000: 03"), "{part}");
    }

    #[test]
    fn keys_and_clocks_are_told() {
        let of = |order: OrderKind| {
            let body = universal(&order, 1_800_000_000_123).unwrap().unwrap();
            shown(body.class, &body.octets).join("\n")
        };
        let advance = OrderKind::AdvanceEpoch { campaign: 7, delta: 2, challenge: [0xab; 8] };
        assert_eq!(of(advance), "advance the epoch by 2: campaign 7, challenge abababababababab");
        let join = OrderKind::Join { gid: 0x8000_0001, classes: 0b1001 };
        assert_eq!(of(join), "join group 80000001, which may order class 0, 3");
        assert_eq!(of(OrderKind::Leave { gid: 0x8000_0001 }), "leave group 80000001");
        assert_eq!(of(OrderKind::SignerRevoke { skid: 3 }), "believe signing key 3 no more");
        let time = of(OrderKind::SetTime { nonce: None });
        assert_eq!(time, "set the clock to 1800000000123 ms of Unix time");
        assert!(of(OrderKind::SetTime { nonce: Some([1; 8]) }).ends_with("as asked with 0101010101010101"));
    }

    proptest! {
        #[test]
        fn any_octets_are_told(octets: Vec<u8>, class in 0..6_u8) {
            prop_assert!(shown(Class::from_octet(class).unwrap(), &octets).len() <= octets.len().max(1));
        }

        #[test]
        fn no_two_writes_are_told_alike(one: Vec<u8>, other: Vec<u8>, table in 8..40_u16) {
            let of = |data: &[u8]| {
                let table = TableId::standard(table);
                shown(Class::Write, &body(Class::Write, &[Request::FullWrite { table, data: TableData::of(data) }]))
            };
            prop_assert_eq!(of(&one) == of(&other), one == other);
        }
    }
}
