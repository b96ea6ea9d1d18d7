//! Faults of the connections between nodes.

use crate::diagnostic::Code;

codes! {
    UNKNOWN_INPUT Error "graph::unknown_input"
    "`input` names a node that the graph does not have. Inputs are named on the consumer: `NODE` for \
     a node's first port, `NODE.PORT` for another one."
    "[node.decrypt]\nkind  = \"decrypt\"\ninput = [\"balancr\"]     # balancer";

    UNKNOWN_OUTPUT Error "graph::unknown_output"
    "The node in `NODE.PORT` exists, and has no port of this name."
    "[node.downlink]\nkind  = \"downlink\"\ninput = [\"decrypt.seald\"]     # decrypt.sealed";

    NO_OUTPUT Error "graph::no_output"
    "`input` names a node that gives nothing: it ends the graph (`event-monitor`), serves others \
     (`key-store`), or is a transport, which is joined by `transport`."
    "[node.journal]\nkind  = \"journal\"\ninput = [\"monitor\"]";

    PORT_TYPE Error "graph::port_type"
    "Something flows out of the port that the reading node does not take: ports have types, and only \
     equal ones fit."
    "[node.journal]\nkind  = \"journal\"\ninput = [\"balancer\"]     # frames; a journal takes records";

    MISSING_INPUT Error "graph::missing_input"
    "The node's kind needs something to read that `input` does not name."
    "[node.balancer]\nkind  = \"load-balancer\"\ninput = []     # [\"ingress\"]";

    TOO_MANY_INPUTS Error "graph::too_many_inputs"
    "The node's kind reads at most so many ports of one type. A list of inputs ends at 256 entries."
    "[node.mdm]\nkind  = \"mdm-egress\"\ninput = [\"journal\", \"archive\"]     # one node each";

    UNEXPECTED_INPUT Error "graph::unexpected_input"
    "Nodes of this kind read nothing through `input`: an `ingress` takes what its transport receives, \
     a `key-store` is asked through `keys`."
    "[node.keys]\nkind  = \"key-store\"\ninput = [\"decrypt\"]";

    DUPLICATE_INPUT Error "graph::duplicate_input"
    "A node names the same port twice, so that every frame would reach it twice."
    "[node.journal]\nkind  = \"journal\"\ninput = [\"decrypt\", \"decrypt.records\"]";

    UNREAD_OUTPUT Error "graph::unread_output"
    "A port that must be read has no reader: what comes out of it would have nowhere to go."
    "[node.decrypt]\nkind = \"decrypt\"     # and nobody says input = [\"decrypt.sealed\"]";

    TOO_MANY_READERS Error "graph::too_many_readers"
    "More nodes read a port than may. A port with one reader hands each batch over, nothing is copied; \
     whoever else wants to know follows the journal."
    "[node.journal]\nkind  = \"journal\"\ninput = [\"decrypt\"]\n[node.second]\nkind  = \"journal\"\ninput = [\"decrypt\"]";

    WHEN_FULL Error "graph::when_full"
    "What flows through this edge does not allow this `when_full`. `wait` stops the producer and loses \
     nothing; `drop` gives up the batch and counts it, which is for APDUs on their way up and for \
     events, never for journal records or what goes down to devices; `collapse` merges events, one \
     record per reason, source and interval. Event edges never wait: a flood of events must not stop \
     the node that reports them."
    "[node.downlink]\nkind  = \"downlink\"\ninput = [{ from = \"decrypt.sealed\", when_full = \"drop\" }]";

    NO_QUEUE Error "graph::no_queue"
    "A log has no queue between it and its reader: each reader follows it with a cursor of its own, so \
     there is nothing that `batches_max` or `when_full` could mean."
    "[node.mdm]\nkind  = \"mdm-egress\"\ninput = [{ from = \"journal\", batches_max = 64 }]";

    CYCLE Error "graph::cycle"
    "Edges that wait form a circle. When all of them are full, every node waits for the next one, for \
     ever. At least one edge of a circle must `drop`; better, there is none."
    "[node.balancer]\nkind  = \"load-balancer\"\ninput = [\"ingress\", \"echo\"]\n[node.echo]\nkind  = \"echo\"\ninput = [\"balancer\"]";

    UNREAD_EVENTS Warning "graph::unread_events"
    "A node reports events and nobody reads them: what it refuses is counted, but named nowhere."
    "[node.monitor]\nkind  = \"event-monitor\"\ninput = [\"decrypt.events\"]     # and \"ingress.events\"";
}
