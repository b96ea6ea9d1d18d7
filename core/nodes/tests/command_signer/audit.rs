//! The audit log with a journal that the test plays.

use std::sync::Arc;

use commands::audit::AuditEntry;
use metergraph_nodes::audit_log::{ABOUT, AuditKey, AuditLogKind};
use metergraph_nodes::record;
use node::context::{Orders, Output, Wiring};
use node::env::{Services, Wire};
use node::{
    Batch, BatchPool, Context, Edge, EdgeName, Env, Frame, Meters, NodeKind, NodeStatus, Value, WhenFull,
};
use seal::at_rest::Dek;
use seal::secret::Key256;

use super::common::graph::config;
use super::common::wait_for;

fn edge(from: &str, port: &str, to: &str) -> Arc<Edge> {
    let name =
        EdgeName { from: from.into(), port: port.into(), from_instance: 0, to: to.into(), to_instance: 0 };
    Arc::new(Edge::new(name, 4, WhenFull::Wait))
}

fn dek() -> Dek {
    Dek::new(&Key256::from_octets([3; 32]))
}

#[test]
fn entries_are_sealed_and_settled_when_the_journal_has_them() {
    let services = Services::default();
    services.provide("keys", Arc::new(AuditKey(dek())));
    let env = Env {
        node: "audit".to_owned(),
        instance: 0,
        instances: 1,
        run: 1,
        state: std::path::PathBuf::new(),
        meters: Meters::default(),
        services,
        pool: BatchPool::new(4),
        status: NodeStatus::default(),
        wires: Arc::new(vec![Wire { from: "audit".into(), port: "records".into(), to: "journal".into() }]),
        transports: Arc::default(),
        transport: None,
    };
    let settings = [("keys", Value::Text("keys".to_owned()))];
    let mut worker = AuditLogKind.build(&config(&AuditLogKind, settings), &env).unwrap();
    let (entries, records) = (edge("signer", "audit", "audit"), edge("audit", "records", "journal"));
    let wiring = Wiring {
        inputs: vec![Arc::clone(&entries)],
        outputs: vec![Output { port: "records".into(), edges: vec![Arc::clone(&records)] }],
        orders: Orders::default(),
        ..Wiring::default()
    };
    let thread = std::thread::spawn(move || worker.run(&mut Context::new(wiring)));
    let entry = AuditEntry {
        time_ms: 1,
        code: "command".to_owned(),
        actor: "a very long name of somebody".to_owned(),
        scope: vec![1; 8],
        message: vec![2; 16],
        digest: vec![3; 32],
        result: "authorised".to_owned(),
        count: 1,
    };
    let mut octets = Vec::new();
    entry.write(&mut octets);
    let push = |octets: &[u8]| {
        let mut batch = Batch::default();
        (0..2).for_each(|_| assert!(batch.push(octets, Frame::default())));
        entries.offer(batch).unwrap()
    };
    let first = push(&octets);
    let (number, batch) = wait_for("the sealed entries", || records.take());
    assert_eq!((batch.len(), entries.settled()), (2, 0));
    let mut sealed: Vec<Vec<u8>> = Vec::new();
    for frame in &batch.frames {
        assert_eq!(record::kind_of(frame), record::AUDIT);
        sealed.push(batch.octets(frame).unwrap().to_vec());
        assert!(!sealed.last().unwrap().windows(8).any(|octets| octets == b"somebody"));
    }
    assert_ne!(sealed[0], sealed[1], "each has a nonce of its own");
    assert_eq!(AuditEntry::read(dek().open(ABOUT, &mut sealed[0]).unwrap()), Some(entry));
    records.settle(number);
    wait_for("the first batch", || (entries.settled() == first).then_some(()));
    // What the journal does not take fails upstream, and so does what is no entry.
    let second = push(&octets);
    let (number, _) = wait_for("the sealed entries", || records.take());
    records.fail(number);
    records.settle(number);
    wait_for("the second batch", || (entries.settled() == second).then_some(()));
    assert_eq!(entries.next_failure(), Some(second));
    let third = push(&[1, 2, 3]);
    wait_for("the third batch", || (entries.settled() == third).then_some(()));
    assert_eq!(entries.next_failure(), Some(third));
    entries.close();
    assert!(thread.join().unwrap().is_ok());
}
