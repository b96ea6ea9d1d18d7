//! The edges to the downlinks, and the head-end's name on what goes there.

use c1222::{ApTitle, ApTitleBuf, Envelope, InvocationId};
use node::{Batch, Context, Env};

/// The ways down of one shard.
pub(super) struct Ways {
    /// The port of sealed APDUs.
    output: usize,
    /// By number of the transport: the edge to its downlink.
    edges: Vec<Option<usize>>,
    /// The head-end's own title.
    title: ApTitleBuf,
    /// The last A8: relays drop a repeated one, so that all that goes down draws from one sequence.
    invocation: u16,
}

impl Ways {
    pub(super) fn new(title: ApTitleBuf) -> Self {
        Self { output: 0, edges: Vec::new(), title, invocation: 0 }
    }

    /// Learns which edge leads to the downlink of which transport.
    pub(super) fn connect(&mut self, context: &Context, env: &Env) {
        let Some(output) = context.output("sealed") else { return };
        self.output = output;
        let edges = context.outputs.get(output).map(|output| output.edges.as_slice()).unwrap_or_default();
        let edge = |transport: &String| {
            edges.iter().position(|edge| env.leads_to_transport(&edge.name().to, transport))
        };
        self.edges = env.transports.iter().map(edge).collect();
    }

    /// Numbers of transports, with or without a way.
    pub(super) fn count(&self) -> usize {
        self.edges.len()
    }

    /// The edge that leads to a transport.
    pub(super) fn edge(&self, transport: u8) -> Option<usize> {
        self.edges.get(usize::from(transport)).copied().flatten()
    }

    /// The transports that can be reached.
    pub(super) fn transports(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).zip(&self.edges).filter_map(|(transport, edge)| edge.map(|_| transport))
    }

    /// Whether the edge to a transport has room for a batch.
    pub(super) fn has_room(&self, context: &Context, transport: u8) -> bool {
        self.room(context, transport).is_some_and(|(free, _)| free > 0)
    }

    /// Offers a batch of commands.
    ///
    /// # Errors
    /// The batch, when the edge is full.
    pub(super) fn offer(&self, context: &mut Context, transport: u8, batch: Batch) -> Result<bool, Batch> {
        match self.edge(transport) {
            Some(edge) => context.offer(self.output, edge, batch).map(|number| number.is_some()),
            None => Err(batch),
        }
    }

    /// Offers a batch of acknowledgements, which leave some slots of the edge to commands.
    ///
    /// # Errors
    /// The batch, when the edge is full.
    pub(super) fn offer_late(
        &self,
        context: &mut Context,
        transport: u8,
        batch: Batch,
    ) -> Result<bool, Batch> {
        match self.room(context, transport) {
            Some((free, all)) if free <= all / 8 => Err(batch),
            _ => self.offer(context, transport, batch),
        }
    }

    /// The envelope of the next APDU.
    pub(super) fn envelope<'e>(&'e mut self, called: Option<ApTitle<'e>>) -> Envelope<'e> {
        self.invocation = self.invocation.wrapping_add(1);
        Envelope {
            called,
            calling: Some(self.title.as_title()),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        }
    }

    /// Batches that the edge to a transport has room for, and that it holds at most.
    fn room(&self, context: &Context, transport: u8) -> Option<(usize, usize)> {
        let edge = context.outputs.get(self.output)?.edges.get(self.edge(transport)?)?;
        Some((edge.batches_max().saturating_sub(edge.waiting()), edge.batches_max()))
    }
}
