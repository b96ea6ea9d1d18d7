use c1222::Epsem;
use c1222::device_profile::{Classes as ProfileClasses, Identity, ProcedureCall, ServiceSwitch};
use c1222::tables::Format;
use proptest::collection::vec;
use proptest::prelude::*;
use seal::command::PADDING;
use seal::control::Items;
use seal::signature::SigningKey;

use super::*;
use crate::class::ProfileClassifier;

fn call(parameter: u8) -> ProcedureCall {
    ProcedureCall { procedure: ProcedureId::manufacturer(1), parameters: vec![parameter] }
}

fn profile() -> ProfileClassifier {
    let mp = ProcedureId::manufacturer;
    ProfileClassifier(DeviceProfile {
        name: String::new(),
        identity: Identity::default(),
        format: Format::default(),
        utc_offset_min: 0,
        freshness_s: 0,
        tables: Vec::new(),
        load_profiles: Vec::new(),
        service_switch: Some(ServiceSwitch {
            disconnect: call(0),
            connect: call(1),
            arm: Some(call(2)),
            state: None,
        }),
        classes: ProfileClasses {
            reads: [(TableId::standard(8), 0), (TableId::standard(23), 0)].into(),
            writes: [(TableId::standard(13), 1), (TableId::manufacturer(52), 2)].into(),
            procedures: [
                (mp(1), 3),
                (mp(2), 3),
                (mp(3), 2),
                (ProcedureId::standard(21), 3),
                (ProcedureId::standard(5), 1),
            ]
            .into(),
            services: [].into(),
        },
    })
}

fn recipes() -> Recipes {
    let firmware =
        Firmware { table: TableId::manufacturer(52), block: 400, activate: ProcedureId::manufacturer(3) };
    Recipes { load_limit: Some(ProcedureId::manufacturer(2)), firmware: Some(firmware), ..Recipes::default() }
}

fn body(order: &OrderKind) -> Result<Body, BodyError> {
    let (classifier, recipes) = (profile(), recipes());
    let maker = Maker { profile: &classifier.0, recipes: &recipes, procedure_class: &classifier };
    maker.body(order, 7, 1_800_000_000_123)
}

fn services(body: &Body) -> Vec<Vec<u8>> {
    let epsem = Epsem::decode(&body.octets).unwrap();
    epsem.check().unwrap();
    epsem.services().map(|service| service.unwrap().to_vec()).collect()
}

fn point() -> ([u8; 32], [u8; 32]) {
    let key = SigningKey::from_octets(&[7; 32]).unwrap().verifying_key().uncompressed();
    (key[1..33].try_into().unwrap(), key[33..].try_into().unwrap())
}

/// One of each, with its class.
fn all() -> Vec<(OrderKind, Class)> {
    let (x, y) = point();
    let table = TableId::standard(23);
    let whole = TableRead { table, part: Part::Whole };
    let octets = TableRead { table, part: Part::Octets { offset: 4, count: 6 } };
    let elements = TableRead { table, part: Part::Elements { index: vec![1, 2], count: 3 } };
    let standard = TableId::standard(13);
    vec![
        (OrderKind::ReadTables(vec![whole, octets, elements]), Class::Read),
        (OrderKind::WriteTable { table: standard, offset: None, data: vec![1, 2, 3] }, Class::Write),
        (OrderKind::WriteTable { table: standard, offset: Some(9), data: vec![1, 2, 3] }, Class::Write),
        (OrderKind::Procedure { procedure: ProcedureId::standard(5), parameters: vec![1] }, Class::Write),
        (OrderKind::Disconnect, Class::Load),
        (OrderKind::Reconnect, Class::Load),
        (OrderKind::Arm, Class::Load),
        (OrderKind::LoadLimit { watts: 5000, minutes: 60 }, Class::Load),
        (OrderKind::DemandResponse { event: 3, start: 1_800_000_000, minutes: 60, percent: 50 }, Class::Load),
        (OrderKind::SetTime { nonce: None }, Class::Time),
        (OrderKind::SetTime { nonce: Some([5; 8]) }, Class::Time),
        (OrderKind::FirmwareBlock { offset: 400, data: vec![9; 400] }, Class::Firmware),
        (OrderKind::FirmwareActivate { size: 800, digest: [8; 32] }, Class::Firmware),
        (OrderKind::SignerAdd { skid: 2, x, y, classes: 9, not_before: 1 }, Class::Keys),
        (OrderKind::SignerRevoke { skid: 2 }, Class::Keys),
        (OrderKind::CredentialNext { kid: 3, x, y }, Class::Keys),
        (OrderKind::Join { gid: 0x8000_0001, classes: 9 }, Class::Keys),
        (OrderKind::Leave { gid: 0x8000_0001 }, Class::Keys),
        (OrderKind::AdvanceEpoch { campaign: 4, delta: 4, challenge: [6; 8] }, Class::Keys),
    ]
}

#[test]
fn each_order_has_a_body_of_the_class_that_signer_and_device_compute() {
    let mut words = Vec::new();
    for (order, class) in all() {
        let body = body(&order).unwrap();
        assert_eq!(body.class, class, "{order:?}");
        assert_eq!(profile().admits(class, &body.octets), Ok(()), "{order:?}");
        assert!(!class.is_padded() || body.octets.len().is_multiple_of(PADDING), "{order:?}");
        if class.octet() < 4 && class.octet() > 0 {
            let lower = Class::from_octet(class.octet() - 1).unwrap();
            assert_eq!(profile().admits(lower, &body.octets), Err(Some(class)), "no class below is enough");
        }
        words.push(order.word());
    }
    words.dedup();
    assert_eq!(words.len(), 17, "all orders are here: {words:?}");
}

#[test]
fn the_bodies_of_switches_cannot_be_told_apart_by_their_length() {
    let length = |order| body(&order).unwrap().octets.len();
    assert_eq!(length(OrderKind::Disconnect), length(OrderKind::Reconnect));
    assert_eq!(length(OrderKind::Disconnect), length(OrderKind::LoadLimit { watts: 1, minutes: 1 }));
}

#[test]
fn a_procedure_is_started_and_its_response_read() {
    let disconnect = body(&OrderKind::Disconnect).unwrap();
    // Full write of ST7: MP1 in the profile's byte order, sequence 7, parameter 0; then ST8.
    let write = vec![0x40, 0, 7, 0, 4, 1, 8, 7, 0, 0xf0];
    assert_eq!(services(&disconnect), [write, vec![0x30, 0, 8]]);
    let limit = body(&OrderKind::LoadLimit { watts: 0x0102_0304, minutes: 0x0506 }).unwrap();
    assert_eq!(services(&limit)[0][5..14], [2, 8, 7, 4, 3, 2, 1, 6, 5]);
    let event = OrderKind::DemandResponse { event: 1, start: 2, minutes: 3, percent: 4 };
    let event = services(&body(&event).unwrap());
    assert_eq!(event[0][5..19], [21, 0, 7, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 4]);
}

#[test]
fn key_items_and_times_are_as_annex_a_has_them() {
    let advance = OrderKind::AdvanceEpoch { campaign: 4, delta: 2, challenge: [6; 8] };
    let item = body(&advance).unwrap();
    let items: Vec<KeyItem<'_>> = Items::read(&item.octets).unwrap().collect();
    assert_eq!(items, [KeyItem::Advance { campaign: 4, delta: 2, challenge: &[6; 8] }]);
    let time = body(&OrderKind::SetTime { nonce: Some([5; 8]) }).unwrap();
    let expected = SetTime { nonce: [5; 8], time_ms: 1_800_000_000_123 };
    assert_eq!(SetTime::read(&time.octets), Some(expected));
}

#[test]
fn what_cannot_be_is_named() {
    let (x, y) = point();
    let read = |part| OrderKind::ReadTables(vec![TableRead { table: TableId::standard(23), part }]);
    let write = |data, offset| OrderKind::WriteTable { table: TableId::standard(13), offset, data };
    for (order, error) in [
        (OrderKind::ReadTables(vec![]), BodyError::Empty),
        (read(Part::Elements { index: vec![], count: 1 }), BodyError::Index),
        (read(Part::Octets { offset: 1 << 24, count: 1 }), BodyError::Offset),
        (write(vec![], None), BodyError::Empty),
        (write(vec![1], Some(1 << 24)), BodyError::Offset),
        (write(vec![0; BODY_MAX + 1], None), BodyError::TooLong(BODY_MAX + 1)),
        (OrderKind::FirmwareBlock { offset: 0, data: vec![0; 401] }, BodyError::Block(400)),
        (OrderKind::DemandResponse { event: 1, start: 1, minutes: 1, percent: 101 }, BodyError::Percent),
        (OrderKind::SignerAdd { skid: 0, x, y, classes: 1, not_before: 0 }, BodyError::Root),
        (OrderKind::SignerAdd { skid: 1, x: y, y: x, classes: 1, not_before: 0 }, BodyError::Point),
        (OrderKind::CredentialNext { kid: 1, x: [0; 32], y: [0; 32] }, BodyError::Point),
        (OrderKind::SignerRevoke { skid: 0 }, BodyError::Root),
        (OrderKind::Join { gid: 1, classes: 1 }, BodyError::Gid),
        (OrderKind::Leave { gid: 1 }, BodyError::Gid),
        (OrderKind::AdvanceEpoch { campaign: 1, delta: 5, challenge: [0; 8] }, BodyError::Delta),
    ] {
        assert_eq!(body(&order), Err(error), "{order:?}");
    }
    let classifier = profile();
    let bare = DeviceProfile { service_switch: None, ..classifier.0.clone() };
    let none = Recipes { demand_response: None, ..Recipes::default() };
    let maker = Maker { profile: &bare, recipes: &none, procedure_class: &classifier };
    for (order, class) in all() {
        let missing = matches!(maker.body(&order, 0, 0), Err(BodyError::NoRecipe(_)));
        let by_recipe = class == Class::Load || class == Class::Firmware;
        assert_eq!(missing, by_recipe, "{order:?}");
    }
}

#[test]
fn an_image_goes_block_by_block_and_is_activated_by_its_digest() {
    let image: Vec<u8> = (0..1000_u32).map(|number| number as u8).collect();
    let orders = firmware(&image, 400).unwrap();
    let mut loaded: Vec<u8> = Vec::new();
    for order in &orders[..3] {
        let OrderKind::FirmwareBlock { offset, data } = order else { panic!("{order:?}") };
        assert_eq!(*offset as usize, loaded.len());
        loaded.extend(data);
    }
    assert_eq!(loaded, image);
    let digest = seal::signature::sha256(&image);
    assert_eq!(orders[3..], [OrderKind::FirmwareActivate { size: 1000, digest }]);
    assert_eq!(firmware(&[], 400), Err(BodyError::Empty));
    assert_eq!(firmware(&image, 0), Err(BodyError::Empty));
}

proptest! {
    #[test]
    fn any_write_fits_a_frame_or_is_refused(
        table: u16, offset: Option<u32>, data in vec(any::<u8>(), 0..700), procedure: u16,
    ) {
        let procedure = ProcedureId(procedure & 0x0fff);
        for order in [
            OrderKind::WriteTable { table: TableId(table), offset, data: data.clone() },
            OrderKind::Procedure { procedure, parameters: data.clone() },
        ] {
            if let Ok(body) = body(&order) {
                prop_assert!(body.octets.len() <= BODY_MAX);
                // Table 7 is judged by its procedure, not as a table.
                if table & 0x17ff != 7 && body.class != Class::Keys {
                    prop_assert_eq!(profile().admits(body.class, &body.octets), Ok(()));
                }
            }
        }
    }
}
