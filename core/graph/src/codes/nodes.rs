//! Faults of nodes.

use crate::diagnostic::Code;

codes! {
    UNKNOWN_KIND Error "graph::unknown_kind"
    "`kind` names no kind of node that this program knows. Kinds come with the program; a plugin \
     brings transports, not kinds."
    "[node.decrypt]\nkind = \"decrypter\"     # decrypt";

    UNKNOWN_SERVICE Error "graph::unknown_service"
    "A key takes the name of the node that provides a service, and there is no node of that name."
    "[node.decrypt]\nkind = \"decrypt\"\nkeys = \"key\"     # the key-store is [node.keys]";

    WRONG_SERVICE Error "graph::wrong_service"
    "A key takes the name of a node that provides a service, and the node of that name provides \
     another one, or none."
    "[node.decrypt]\nkind = \"decrypt\"\nkeys = \"journal\"     # a journal keeps no keys";

    SERVICE_CYCLE Error "graph::service_cycle"
    "Nodes use each other's services in a circle, so that none of them can be built first."
    "[node.a]\nkind = \"echo\"\npeer = \"b\"\n[node.b]\nkind = \"echo\"\npeer = \"a\"";

    UNUSED_SERVICE Warning "graph::unused_service"
    "A node only provides a service, and no other node uses it."
    "[node.spare]\nkind = \"key-store\"     # nobody says keys = \"spare\"";

    DUPLICATE_PATH Warning "graph::duplicate_path"
    "Two nodes name the same file or folder. A folder that a node writes belongs to it alone; two nodes \
     of one kind need a `path` each."
    "[node.mdm]\nkind = \"mdm-egress\"\n[node.second-mdm]\nkind = \"mdm-egress\"     # path = \"second-mdm\"";

    UNKNOWN_TRANSPORT Error "graph::unknown_transport"
    "`transport` names no `[transport.NAME]` of the graph."
    "[transport.wan]\nplugin = \"libmetergraph_tcp.so\"\n[node.ingress]\nkind      = \"ingress\"\ntransport = \"lan\"";

    UNEXPECTED_TRANSPORT Error "graph::unexpected_transport"
    "Only the kinds that are an end of a transport (`ingress`, `downlink`) have the key `transport`. \
     All others are joined by `input`."
    "[node.decrypt]\nkind      = \"decrypt\"\ntransport = \"wan\"";
}
