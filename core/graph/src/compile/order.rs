//! Which nodes are built and started first, and the circles in which nothing would be first.

use std::collections::HashMap;

use node::{PortType, WhenFull};

use super::nodes::Draft;
use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::fields::Checker;
use crate::plan::{EdgePlan, End, Plan};

/// Circles that are told.
const CIRCLES_MAX: usize = 16;

/// Fills in the orders of the plan.
pub(super) fn arrange(drafts: &[Draft<'_>], plan: &mut Plan, checker: &mut Checker) {
    let count = plan.nodes.len();
    let services: Vec<(usize, usize)> =
        plan.services.iter().map(|service| (service.provider, service.user)).collect();
    let logs = plan.edges.iter().filter(|edge| edge.port_type == PortType::Log).filter_map(between);
    let first_built: Vec<(usize, usize)> = services.iter().copied().chain(logs).collect();
    refuse_service_cycles(drafts, &services, plan, checker);
    plan.build_order = sorted(count, &first_built, 0..count);
    let first_started: Vec<(usize, usize)> =
        plan.edges.iter().filter_map(between).map(|(from, to)| (to, from)).collect();
    plan.start_order = sorted(count, &first_started, plan.build_order.iter().copied());
}

fn between(edge: &EdgePlan) -> Option<(usize, usize)> {
    match (edge.from, edge.to) {
        (End::Node(from), End::Node(to)) => Some((from, to)),
        _ => None,
    }
}

/// All nodes, each after those that `before` (first, second) puts before it, else as in `preferred`.
/// Where `before` is a circle the preferred one of it is taken.
fn sorted(count: usize, before: &[(usize, usize)], preferred: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut left: Vec<usize> = preferred.collect();
    let mut awaits = vec![0_usize; count];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (first, second) in before.iter().filter(|(first, second)| first != second) {
        if let (Some(after), Some(awaits)) = (after.get_mut(*first), awaits.get_mut(*second)) {
            after.push(*second);
            *awaits += 1;
        }
    }
    let mut order: Vec<usize> = Vec::with_capacity(count);
    while !left.is_empty() {
        let ready = |node: &usize| awaits.get(*node) == Some(&0);
        let next = left.remove(left.iter().position(ready).unwrap_or(0));
        for freed in after.get_mut(next).map(std::mem::take).unwrap_or_default() {
            if let Some(awaits) = awaits.get_mut(freed) {
                *awaits -= 1;
            }
        }
        order.push(next);
    }
    order
}

/// Refuses circles in which every edge waits. `places` says where edges are written.
pub(super) fn refuse_cycles(
    drafts: &[Draft<'_>],
    places: &[(usize, Span)],
    plan: &Plan,
    checker: &mut Checker,
) {
    let waits = |edge: &&EdgePlan| {
        edge.when_full == WhenFull::Wait && !matches!(edge.port_type, PortType::Log | PortType::Events)
    };
    let arrows: Vec<(usize, usize)> = plan.edges.iter().filter(waits).filter_map(between).collect();
    let written: HashMap<(usize, usize), &Span> = places
        .iter()
        .filter_map(|(edge, span)| Some((plan.edges.get(*edge).filter(waits).and_then(between)?, span)))
        .collect();
    for circle in circles(plan.nodes.len(), &arrows) {
        let spans: Vec<&Span> = steps(&circle).filter_map(|step| written.get(&step).copied()).collect();
        let names = walk(&circle, plan);
        let message = format!("every edge of this circle waits: {names}");
        push(drafts, &circle, &spans, (&codes::CYCLE, message, "waits"), checker);
    }
}

fn refuse_service_cycles(
    drafts: &[Draft<'_>],
    services: &[(usize, usize)],
    plan: &Plan,
    checker: &mut Checker,
) {
    for circle in circles(plan.nodes.len(), services) {
        let message = format!("none of these can be built before the others: {}", walk(&circle, plan));
        push(
            drafts,
            &circle,
            &[],
            (&codes::SERVICE_CYCLE, message, "uses the service of another one"),
            checker,
        );
    }
}

fn push(
    drafts: &[Draft<'_>],
    circle: &[usize],
    spans: &[&Span],
    (code, message, word): (&crate::Code, String, &str),
    checker: &mut Checker,
) {
    let heads: Vec<&Span> =
        circle.iter().filter_map(|node| drafts.get(*node)).map(|draft| &draft.span).collect();
    let mut places = if spans.is_empty() { heads } else { spans.to_vec() };
    places.sort_by_key(|span| span.start);
    let mut places = places.into_iter();
    let first = places.next().cloned().unwrap_or(0..0);
    let fault = Diagnostic::new(code, first, message).label(word);
    checker.push(places.fold(fault, |fault, span| fault.and(span.clone(), word)));
}

/// The arrows of a circle, the closing one included.
fn steps(circle: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let next = circle.iter().cycle().skip(1);
    circle.iter().copied().zip(next.copied())
}

fn walk(circle: &[usize], plan: &Plan) -> String {
    let names: Vec<&str> = circle
        .iter()
        .chain(circle.first())
        .filter_map(|node| plan.nodes.get(*node))
        .map(|node| node.name.as_str())
        .collect();
    names.join(" -> ")
}

/// Circles of a graph, at least one in each of its knots; each begins at its first node.
fn circles(count: usize, arrows: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in arrows {
        if let Some(next) = next.get_mut(*from) {
            next.push(*to);
        }
    }
    let mut found: Vec<Vec<usize>> = Vec::new();
    // 0: not seen; 1: on the way; 2: done.
    let mut state = vec![0_u8; count];
    for start in 0..count {
        if state.get(start) != Some(&0) || found.len() >= CIRCLES_MAX {
            continue;
        }
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        set(&mut state, start, 1);
        while let Some((node, turn)) = way.last_mut() {
            let Some(to) = next.get(*node).and_then(|next| next.get(*turn)).copied() else {
                set(&mut state, *node, 2);
                way.pop();
                continue;
            };
            *turn += 1;
            match state.get(to) {
                Some(0) => {
                    set(&mut state, to, 1);
                    way.push((to, 0));
                }
                Some(1) => {
                    let mut circle: Vec<usize> =
                        way.iter().map(|(node, _)| *node).skip_while(|node| *node != to).collect();
                    let first =
                        circle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
                    circle.rotate_left(first);
                    if found.len() < CIRCLES_MAX && !found.contains(&circle) {
                        found.push(circle);
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn set(state: &mut [u8], node: usize, to: u8) {
    if let Some(state) = state.get_mut(node) {
        *state = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_once_and_begin_at_their_first_node() {
        assert_eq!(circles(4, &[(0, 1), (1, 2), (2, 3)]), Vec::<Vec<usize>>::new());
        assert_eq!(circles(4, &[(3, 1), (1, 2), (2, 3), (0, 3)]), [vec![1, 2, 3]]);
        assert_eq!(circles(3, &[(0, 0), (1, 2), (2, 1)]), [vec![0], vec![1, 2]]);
        assert_eq!(circles(0, &[(7, 9)]), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn what_comes_before_goes_first_and_the_rest_stays_as_it_is() {
        assert_eq!(sorted(4, &[(3, 0), (2, 0)], 0..4), [1, 2, 3, 0]);
        assert_eq!(sorted(3, &[(0, 1), (1, 0)], 0..3), [2, 0, 1]);
        assert_eq!(sorted(2, &[(1, 1)], 0..2), [0, 1]);
    }
}
